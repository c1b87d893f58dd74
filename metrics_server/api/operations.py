"""The operations that are served, as data for the OpenAPI documents."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from metrics_server.api import discovery
from metrics_server.api.negotiation import Offer
from metrics_server.api.table import TABLE_GROUP, TABLE_VERSION, Table
from metrics_server.api.types import (
    CUSTOM_GROUP,
    CUSTOM_VERSIONS,
    GROUP,
    VERSION,
    ExternalMetricValue,
    ExternalMetricValueList,
    MetricValue,
    MetricValueList,
    MetricValueListV1beta1,
    MetricValueV1beta1,
)
from metrics_server.api.version import VersionInfo

Json: TypeAlias = "str | bool | int | Struct | Sequence[Json] | Mapping[str, Json]"

JSON = Offer().content_type
TABLE = Offer(kind="Table", group=TABLE_GROUP, version=TABLE_VERSION).content_type

ERRORS = {
    400: "A parameter is malformed.",
    401: "The request is not authenticated.",
    403: "The caller is not authorized.",
    404: "The metric or object does not exist, or no pod that requests a GPU is selected.",
    405: "Watching is not supported.",
    406: "None of the accepted media types is available.",
    500: "The server failed, or could not authorize the caller.",
    503: "The metric cannot be measured at the moment.",
}
"""The meanings of errors' HTTP statuses."""


class GroupVersionKind(Struct, frozen=True):
    """An entry of x-kubernetes-group-version-kind."""

    kind: str
    group: str
    version: str


KINDS: Mapping[type[Struct], GroupVersionKind] = {
    ExternalMetricValue: GroupVersionKind("ExternalMetricValue", GROUP, VERSION),
    ExternalMetricValueList: GroupVersionKind("ExternalMetricValueList", GROUP, VERSION),
    MetricValue: GroupVersionKind("MetricValue", CUSTOM_GROUP, "v1beta2"),
    MetricValueList: GroupVersionKind("MetricValueList", CUSTOM_GROUP, "v1beta2"),
    MetricValueV1beta1: GroupVersionKind("MetricValue", CUSTOM_GROUP, "v1beta1"),
    MetricValueListV1beta1: GroupVersionKind("MetricValueList", CUSTOM_GROUP, "v1beta1"),
}
"""The kinds of our own groups, by type."""


class Parameter(Struct, frozen=True):
    """A parameter of an operation."""

    name: str
    place: Literal["path", "query"]
    type: Literal["string", "integer", "boolean"]
    description: str


class Operation(Struct, frozen=True):
    """A GET request.

    Attributes:
        path: with the parameters in braces. It is also served without the trailing slash.
        operation_id: unique in a document.
        description: what it answers.
        answers: the type of the answer by media type, the usual one first.
        parameters: those in the path and in the query.
        errors: the HTTP statuses whose body is a Status.
        extensions: its x-kubernetes-… fields.
    """

    path: str
    operation_id: str
    description: str
    answers: Mapping[str, type[Struct]]
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = (401, 403, 406, 500)
    extensions: Mapping[str, Json] = {}


_NAMESPACE = Parameter("namespace", "path", "string", "The namespace of the pods.")
_METRIC = Parameter("metric", "path", "string", "The name of the metric; case does not matter.")
_SELECTOR = Parameter("labelSelector", "query", "string", "Which pods; all by default.")
_IGNORED = (
    Parameter("limit", "query", "integer", "Accepted and ignored."),
    Parameter("continue", "query", "string", "Accepted and ignored."),
    Parameter("resourceVersion", "query", "string", "Accepted and ignored."),
    Parameter("timeoutSeconds", "query", "integer", "Accepted and ignored."),
    Parameter("watch", "query", "boolean", "Must not be true."),
)
_METRIC_SELECTOR = Parameter(
    "metricLabelSelector",
    "query",
    "string",
    "Which of these pods, by their labels; all by default.",
)

COMMON: tuple[Operation, ...] = (
    Operation(
        "/apis/",
        "getAPIVersions",
        "The API groups served.",
        {
            JSON: discovery.APIGroupList,
            discovery.MEDIA_TYPES["v2"]: discovery.APIGroupDiscoveryList,
            discovery.MEDIA_TYPES["v2beta1"]: discovery.APIGroupDiscoveryList,
        },
    ),
    Operation("/version/", "getCodeVersion", "The version of this server.", {JSON: VersionInfo}),
)
"""The operations of no group."""


def _of_group(group: str, name: str, versions: Sequence[str]) -> tuple[Operation, ...]:
    """The discovery documents of a group."""
    return (
        Operation(
            f"/apis/{group}/",
            f"get{name}APIGroup",
            f"The versions of {group}.",
            {JSON: discovery.APIGroup},
        ),
        *(
            Operation(
                f"/apis/{group}/{version}/",
                f"get{name}{version.capitalize()}APIResources",
                f"The metrics of {group}/{version}.",
                {JSON: discovery.APIResourceList},
            )
            for version in versions
        ),
    )


def _custom(version: str, answer: type[Struct]) -> tuple[Operation, ...]:
    """The requests for custom metrics in one version."""
    base = f"/apis/{CUSTOM_GROUP}/{version}/namespaces/{{namespace}}"
    answers: Mapping[str, type[Struct]] = {JSON: answer, TABLE: Table}
    extensions: Mapping[str, Json] = {
        "x-kubernetes-action": "get",
        "x-kubernetes-group-version-kind": GroupVersionKind("MetricValue", CUSTOM_GROUP, version),
    }
    return (
        Operation(
            base + "/{resource}/{name}/{metric}",
            f"readCustomMetrics{version.capitalize()}NamespacedMetricValue",
            "The value of a metric for each pod, or for the pods of another object.",
            answers,
            (
                _NAMESPACE,
                Parameter("resource", "path", "string", "Such as pods or deployments.apps."),
                Parameter("name", "path", "string", "The name of the object; * for all pods."),
                _METRIC,
                _SELECTOR,
                _METRIC_SELECTOR,
                *_IGNORED,
            ),
            tuple(ERRORS),
            extensions,
        ),
        Operation(
            base + "/metrics/{metric}",
            f"readCustomMetrics{version.capitalize()}NamespaceMetricValue",
            "The value of a metric for the pods of a namespace.",
            answers,
            (_NAMESPACE, _METRIC, _SELECTOR, _METRIC_SELECTOR, *_IGNORED),
            tuple(ERRORS),
            extensions,
        ),
    )


OPERATIONS: Mapping[str, tuple[Operation, ...]] = {
    GROUP: (
        *_of_group(GROUP, "ExternalMetrics", (VERSION,)),
        Operation(
            f"/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/{{metric}}",
            "listExternalMetricsV1beta1NamespacedExternalMetricValue",
            "The value of a metric over the pods of a namespace that a selector matches.",
            {JSON: ExternalMetricValueList, TABLE: Table},
            (
                _NAMESPACE,
                _METRIC,
                _SELECTOR,
                Parameter("fieldSelector", "query", "string", "metadata.namespace only."),
                *_IGNORED,
            ),
            tuple(ERRORS),
            {
                "x-kubernetes-action": "list",
                "x-kubernetes-group-version-kind": KINDS[ExternalMetricValue],
            },
        ),
    ),
    CUSTOM_GROUP: (
        *_of_group(CUSTOM_GROUP, "CustomMetrics", CUSTOM_VERSIONS),
        *_custom("v1beta2", MetricValueList),
        *_custom("v1beta1", MetricValueListV1beta1),
    ),
}
"""The operations of each group."""
