"""Metrics pages: fetching them within bounds, and parsing the Prometheus text format."""
