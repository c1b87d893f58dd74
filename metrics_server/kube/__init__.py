"""The Kubernetes API as this product sees it: pods, exporters' endpoints, label selectors."""
