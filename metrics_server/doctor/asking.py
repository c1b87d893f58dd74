"""What the HPA controller asks, and what it gets."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec
from msgspec import Struct

from metrics_server.common.text import printable
from metrics_server.doctor.api import Api
from metrics_server.doctor.model import objects
from metrics_server.kube.answers import Fetched, status_message
from metrics_server.kube.autoscalers import MetricType
from metrics_server.kube.labels import Selector
from metrics_server.rules.series import SeriesSelector

EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"
CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2"

REPLACEMENTS: tuple[str, ...] = ("last-known", "simulated")
"""The sources of a value that is not a measurement."""

_OK = 200
_MAX_BYTES = 16 * 1024 * 1024


class Asked(Struct, frozen=True):
    """A metric that an HPA asks for, or would.

    Attributes:
        type: of the metric.
        metric: its name.
        namespace: where the pods are.
        selector: of the pods; None if it is not known.
        unknown: why it is not known.
        described: of an Object metric, its object, as resource/name.
        series: which rows of the pods' pages count.
        hpa: the namespace and name of the HPA that asks, with a slash; "" without one.
    """

    type: MetricType
    metric: str
    namespace: str
    selector: Selector | None = None
    unknown: str = ""
    described: str = ""
    series: SeriesSelector = SeriesSelector()
    hpa: str = ""

    @property
    def objects(self) -> tuple[str, ...]:
        """The objects that a problem with it concerns."""
        return objects("metric", [self.named]) + objects("hpa", filter(None, [self.hpa]))

    @property
    def selectors(self) -> str:
        """The whole selector, as it is asked for."""
        return ",".join(filter(None, (str(self.selector or ""), str(self.series))))

    @property
    def named(self) -> str:
        """Its name in messages."""
        return f"{self.type} metric {printable(self.metric, 80)}"

    @property
    def path(self) -> str:
        """The path of the request."""
        where, metric = quote(self.namespace, safe=""), quote(self.metric.lower(), safe="")
        if self.type == "External":
            return f"{EXTERNAL}/namespaces/{where}/{metric}"
        described = "pods/*" if self.type == "Pods" else quote(self.described, safe="/")
        return f"{CUSTOM}/namespaces/{where}/{described}/{metric}"

    @property
    def query(self) -> Mapping[str, str]:
        """The query of the request."""
        name = "metricLabelSelector" if self.type == "Object" else "labelSelector"
        text = str(self.series) if self.type == "Object" else self.selectors
        return {name: text} if text else {}

    @property
    def command(self) -> str:
        """The kubectl command that asks the same."""
        query = "&".join(f"{key}={quote(value, safe='')}" for key, value in self.query.items())
        return f"kubectl get --raw '{self.path}{'?' if query else ''}{query}'"


class _Described(Struct):
    name: str = ""


class Item(Struct, rename="camel"):
    """A value in an answer."""

    value: str
    timestamp: str = ""
    metric_labels: dict[str, str] = {}
    described_object: _Described = msgspec.field(default_factory=_Described)

    @property
    def pod(self) -> str:
        """The pod that it is of; "" if it is of several."""
        return self.described_object.name


class _List(Struct):
    items: list[Item]


class Answered(Struct, frozen=True):
    """The API's answer.

    Attributes:
        items: the values; none after an error.
        error: the message of the error; "" if there was none.
        status: the HTTP status.
    """

    items: Sequence[Item] = ()
    error: str = ""
    status: int = _OK

    @property
    def source(self) -> str:
        """Where an External metric came from; "" if the answer does not say."""
        return next((one.metric_labels.get("source", "") for one in self.items), "")


async def ask(api: Api, asked: Asked) -> Answered:
    """Ask what the HPA controller asks.

    Raises:
        KubernetesError: the API cannot be reached.
    """
    return answered(await api.fetch(asked.path, asked.query, max_bytes=_MAX_BYTES))


def answered(answer: Fetched) -> Answered:
    """Read an answer (pure)."""
    if answer.status != _OK:
        text = status_message(answer.body) or answer.body[:300].decode(errors="replace").strip()
        text = printable(text, 1000) or "the answer has no message"
        return Answered(error=text, status=answer.status)
    try:
        return Answered(msgspec.json.decode(answer.body, type=_List).items)
    except (msgspec.DecodeError, ValueError) as error:
        return Answered(error=f"the answer cannot be read: {error}", status=answer.status)
