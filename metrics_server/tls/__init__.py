"""Serving certificates, and the TLS of the listener."""
