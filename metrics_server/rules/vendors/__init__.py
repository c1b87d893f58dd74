"""What is known about each vendor's exporters: a file for each, and the registry of all."""
