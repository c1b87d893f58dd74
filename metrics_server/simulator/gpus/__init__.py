"""Simulated GPUs: their load, and the exporters that report it."""
