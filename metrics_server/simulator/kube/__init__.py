"""A simulated Kubernetes API, with its aggregator, reviews and CAs."""
