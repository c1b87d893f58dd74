"""Serving certificates."""
