"""Authentication and authorization, by the rules of the Kubernetes API machinery."""
