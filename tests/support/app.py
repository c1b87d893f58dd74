"""Paths and media types that Kubernetes requests."""

from metrics_server.api.types import GROUP_VERSION

METRIC = f"/apis/{GROUP_VERSION}/namespaces/default/gpu_utilization"

V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
