"""Measurements from Prometheus, or from a server that speaks its query API."""
