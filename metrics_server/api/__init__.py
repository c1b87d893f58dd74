"""The API that Kubernetes calls: discovery, metrics, health."""
