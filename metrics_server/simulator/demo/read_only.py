"""What kubectl prints when it tries to change the demo's cluster, or to look into its pods."""

from http import HTTPStatus

from aiohttp import web

from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.demo.options import DemoOptions
from metrics_server.simulator.demo.restarts import Restarts
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import EVENTS
from metrics_server.simulator.kube.statuses import StatusError, response_of

_INSIDE_PODS = (
    "the demo's pods are simulated: no process runs in them, and they have no logs; "
    "kubectl describe hpa shows the HPA's decisions and events"
)
_ACCESS = "the demo's cluster allows every request that it serves, whoever sends it"
# Parts of a pod that only a kubelet could answer for.
_INSIDE = {"log", "exec", "attach", "portforward", "ephemeralcontainers"}
_REVIEWS = {"authentication.k8s.io", "authorization.k8s.io"}
_UNSERVED = {
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}


class ReadOnly:
    """Explains what the demo's cluster does not do, and what to do instead.

    Args:
        options: the demo's flags.

    Attributes:
        page: the URL of the demo's page; None if it has none.
    """

    def __init__(self, options: DemoOptions) -> None:
        self.page: str | None = None
        self._has_faults = options.signal == "utilization"

    def protect(self, api: KubernetesAPI, cluster: Cluster) -> None:
        """Make an API read-only, except for the server's events and restarts of exporters.

        Args:
            api: the API.
            cluster: the cluster whose exporters can be restarted.
        """
        restarts = Restarts(api, cluster)
        api.writable, api.control, api.explain = (EVENTS,), restarts.control, self.explain

    def explain(self, request: web.Request, error: StatusError) -> web.Response:
        """Return the answer to a request.

        Args:
            request: the request.
            error: what kube-apiserver would answer.
        """
        parts = request.path.strip("/").split("/")
        if error.status.code not in _UNSERVED:
            return response_of(error)
        match parts:
            case ["api", "v1", "namespaces", _, "pods", _, part, *_] if part in _INSIDE:
                return response_of(StatusError(501, _INSIDE_PODS))
            case ["openapi", *_]:
                # Of a Status, kubectl would print only its code.
                return web.Response(status=501, text=f"no OpenAPI documents: {self._message}")
            case ["apis", group, *_] if group in _REVIEWS:
                return response_of(StatusError(501, _ACCESS))
        if request.method != "GET":
            return response_of(StatusError(405, self._message))
        return response_of(error)

    @property
    def _message(self) -> str:
        """That the cluster is read-only, and how to change it."""
        faults, fault = (", the exporters' faults", "--fault, ") if self._has_faults else ("", "")
        what = f"the load{faults} and the HPA"
        if self.page is not None:
            return f"the demo's cluster is read-only; change {what} at {self.page}"
        return (
            f"the demo's cluster is read-only; restart the demo with --page to change {what} in a "
            f"browser, or with {fault}--metric-type or --nodes"
        )
