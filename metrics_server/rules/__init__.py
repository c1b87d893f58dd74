"""The meaning of each metric, as data."""
