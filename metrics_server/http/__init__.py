"""Connections of clients, and their limits."""
