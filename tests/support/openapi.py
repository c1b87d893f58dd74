"""OpenAPI documents, and how to read them."""

import json
from typing import TypeAlias

from metrics_server.api import discovery
from metrics_server.api.groups import custom_metrics_group, external_metrics_group

Json: TypeAlias = "str | int | bool | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, "Json"]

GROUPS = [
    external_metrics_group(["gpu_utilization"]),
    custom_metrics_group(["gpu_utilization"], ["pods", "deployments.apps"]),
]
METRIC_PATH = "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}"
OBJECT_PATH = "namespaces/{namespace}/{resource}/{name}/{metric}"


def as_object(value: Json) -> JsonObject:
    """A JSON value that must be an object."""
    assert isinstance(value, dict)
    return value


def load(document: discovery.Document) -> JsonObject:
    """Load a document as a client reads it."""
    return as_object(json.loads(document.body))


def at(document: Json, *path: str) -> JsonObject:
    """The object at a path in a document."""
    for key in path:
        document = as_object(document)[key]
    return as_object(document)


def schemas(document: JsonObject) -> JsonObject:
    """The schemas in a document of either version, by type name."""
    named = (
        at(document, "definitions")
        if "definitions" in document
        else at(document, "components", "schemas")
    )
    return {name.removeprefix("gpu-metrics-server."): schema for name, schema in named.items()}
