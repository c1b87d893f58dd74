"""What is known of inference engines and gateways: one file for each."""
