"""What is known about inference engines and gateways: one file for each."""
