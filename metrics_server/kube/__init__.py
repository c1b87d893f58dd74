"""The Kubernetes API as this product uses it: pods, exporters' endpoints, label selectors."""
