"""A simulated Kubernetes API, the aggregator in front of it, and whom its cluster trusts."""
