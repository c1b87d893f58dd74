"""The API that Kubernetes calls: discovery, the external metrics, health."""
