"""Answers have the shape that the OpenAPI documents describe."""

import json

import msgspec
import pytest
from msgspec import Struct, structs
from openapi_schema_validator import OAS30Validator

from metrics_server.api import discovery
from metrics_server.api.openapi import OpenAPI, build_openapi
from metrics_server.api.operations import COMMON, OPERATIONS, TABLE
from metrics_server.api.status import Status, StatusCause, StatusDetails, failure
from metrics_server.api.table import Table, table_of
from metrics_server.api.types import (
    GROUP,
    GROUP_VERSION,
    ExternalMetricValue,
    ExternalMetricValueList,
    MetricIdentifier,
    MetricValue,
    MetricValueList,
    MetricValueListV1beta1,
    MetricValueV1beta1,
    ObjectReference,
)
from metrics_server.api.version import VersionInfo
from metrics_server.kube.label_selectors import LabelSelector, LabelSelectorRequirement
from tests.support.openapi import (
    GROUPS,
    METRIC_PATH,
    OBJECT_PATH,
    Json,
    as_object,
    at,
    load,
    schemas,
)

VALUES = ExternalMetricValueList(
    items=(
        ExternalMetricValue(
            metric_name="gpu_utilization",
            metric_labels={"source": "exporters", "pods": "2"},
            timestamp="2026-11-24T08:32:41Z",
            window=30,
            value="84",
        ),
    )
)
POD = ObjectReference("Pod", "default", "web-1")
SELECTOR = LabelSelector({"app": "web"}, (LabelSelectorRequirement("tier", "In", ("a", "b")),))
CUSTOM_VALUES = MetricValueList(
    items=(
        MetricValue(
            described_object=POD,
            metric=MetricIdentifier("gpu_utilization", SELECTOR),
            timestamp="2026-11-24T08:32:41Z",
            window_seconds=30,
            value="84",
        ),
    )
)
OLD_VALUES = MetricValueListV1beta1(
    items=(
        MetricValueV1beta1(
            described_object=POD,
            metric_name="gpu_utilization",
            timestamp="2026-11-24T08:32:41Z",
            window=30,
            value="84",
            selector=SELECTOR,
        ),
    )
)
FAILURE = failure(
    503, "no exporter", StatusDetails("gpu_utilization", "g", "k", (StatusCause("r", "m", "f"),), 1)
)
DISCOVERY = discovery.build_discovery(GROUPS)
AGGREGATED = DISCOVERY.api_group_discovery_list["v2"]

# One full answer of every kind, by the name of its schema.
EXAMPLES: dict[str, bytes] = {
    "ExternalMetricValueList": msgspec.json.encode(VALUES),
    "MetricValueList": msgspec.json.encode(CUSTOM_VALUES),
    "MetricValueListV1beta1": msgspec.json.encode(OLD_VALUES),
    "Table": msgspec.json.encode(table_of(VALUES, "default")),
    "Status": msgspec.json.encode(FAILURE),
    "APIGroupList": DISCOVERY.api_group_list.body,
    "APIGroup": DISCOVERY.api_groups[GROUP].body,
    "APIResourceList": DISCOVERY.api_resource_lists[GROUP_VERSION].body,
    "APIGroupDiscoveryList": AGGREGATED.body,
    "VersionInfo": DISCOVERY.version.body,
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_real_answers_validate(openapi: OpenAPI, name: str) -> None:
    """Each answer matches its schema, and has no field that the schema lacks."""
    document = as_object(closed(load(openapi.v2)))
    validator = OAS30Validator({**document, "$ref": f"#/definitions/gpu-metrics-server.{name}"})
    instance = json.loads(EXAMPLES[name])
    assert list(validator.iter_errors(instance)) == []
    assert not validator.is_valid({**instance, "unheardOf": True})


def closed(node: Json) -> Json:
    """A document whose objects may have only the listed fields."""
    if isinstance(node, list):
        return [closed(value) for value in node]
    if not isinstance(node, dict):
        return node
    shut = {key: closed(value) for key, value in node.items()}
    if node.get("type") == "object" and "additionalProperties" not in node:
        shut["additionalProperties"] = False
    return shut


def test_an_answer_of_the_wrong_shape_does_not_validate(openapi: OpenAPI) -> None:
    """The schemas are strict enough to catch a value that is not a string, and a missing one."""
    document = load(openapi.v2)
    validator = OAS30Validator(
        {**document, "$ref": "#/definitions/gpu-metrics-server.ExternalMetricValue"}
    )
    good = json.loads(EXAMPLES["ExternalMetricValueList"])["items"][0]
    assert validator.is_valid(good)
    assert not validator.is_valid({**good, "value": 84})
    assert not validator.is_valid({k: v for k, v in good.items() if k != "metricName"})
    assert not validator.is_valid({**good, "window": "30s"})


@pytest.mark.parametrize(
    "type_",
    [
        ExternalMetricValueList,
        ExternalMetricValue,
        MetricValueList,
        MetricValue,
        MetricValueListV1beta1,
        MetricValueV1beta1,
        ObjectReference,
        Status,
        StatusDetails,
        Table,
        discovery.APIGroupList,
        discovery.APIGroup,
        discovery.APIResourceList,
        discovery.APIResource,
        discovery.APIGroupDiscoveryList,
        VersionInfo,
    ],
)
def test_every_field_is_described(openapi: OpenAPI, type_: type[Struct]) -> None:
    """The schema has exactly the fields of the encoded type."""
    schema = as_object(schemas(load(openapi.v2))[type_.__name__])
    fields = {field.encode_name for field in structs.fields(type_)}
    assert set(at(schema, "properties")) == fields
    assert schema["description"]


def test_tables_are_offered_for_metrics(openapi: OpenAPI) -> None:
    """The media type that `kubectl get` requests leads to the schema of a Table."""
    custom = "/apis/custom.metrics.k8s.io/v1beta2/"
    for path, below in (
        ("apis/external.metrics.k8s.io/v1beta1", METRIC_PATH),
        ("apis/custom.metrics.k8s.io/v1beta2", custom + OBJECT_PATH),
    ):
        document = load(openapi.v3[path])
        content = at(document, "paths", below, "get", "responses", "200", "content")
        assert set(content) == {"application/json", TABLE}
        assert str(at(content, TABLE, "schema")["$ref"]).endswith(".Table")


def test_operation_ids_are_unique() -> None:
    """Both specifications require this, within a document."""
    operations = (*COMMON, *(one for group in OPERATIONS.values() for one in group))
    ids = [operation.operation_id for operation in operations]
    assert len(set(ids)) == len(ids)


def test_the_documents_are_the_same_at_each_start(openapi: OpenAPI) -> None:
    """Replicas have the same entity tags, so clients behind a balancer need not reload."""
    assert build_openapi(GROUPS) == openapi
