"""The object that events about an HPA refer to."""

from metrics_server.kube.autoscalers import Autoscaler
from metrics_server.kube.events import Regarding


def regarding(hpa: Autoscaler) -> Regarding:
    """Return the reference to an HPA."""
    return Regarding(
        api_version="autoscaling/v2",
        kind="HorizontalPodAutoscaler",
        name=hpa.name,
        namespace=hpa.namespace,
        uid=hpa.uid,
    )
