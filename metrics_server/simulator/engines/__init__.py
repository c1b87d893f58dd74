"""Simulated inference engines in pods, the gateway in front of them, and their requests."""
