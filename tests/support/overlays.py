"""The folders of manifests that are installed."""

from collections.abc import Sequence

from metrics_server.simulator.kube.objects import Json, Object
from tests.deployments.manifests import OVERLAYS, SERVER, find, items, mapping, pod_spec

FOLDERS = [".", *(f"overlays/{overlay}" for overlay in OVERLAYS)]


def spread_by(objects: Sequence[Object]) -> list[Json]:
    """The keys that spread the server's replicas: nodes first, then zones."""
    spec = pod_spec(find(objects, "Deployment", SERVER))
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    terms = items(mapping(spec, "affinity", "podAntiAffinity"), preferred)
    constraints = items(spec, "topologySpreadConstraints")
    return [*constraints, *(mapping(term, "podAffinityTerm") for term in terms)]
