"""A simulated GPU cluster on loopback, to demonstrate and to test with."""
