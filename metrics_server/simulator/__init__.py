"""A simulated GPU cluster on loopback, for the demo and for tests."""
