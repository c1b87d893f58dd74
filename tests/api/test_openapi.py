"""The OpenAPI documents are valid, agree with each other, and describe what is really sent."""

import json
from collections.abc import Iterator
from typing import TypeAlias

import msgspec
import pytest
from msgspec import Struct, structs
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV30SpecValidator

from metrics_server.api import discovery
from metrics_server.api.groups import ApiGroup, custom_metrics_group, external_metrics_group
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

Json: TypeAlias = "str | int | bool | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, "Json"]

GROUPS = [
    external_metrics_group(["gpu_utilization"]),
    custom_metrics_group(["gpu_utilization"], ["pods", "deployments.apps"]),
]
METRIC_PATH = "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}"
OBJECT_PATH = "namespaces/{namespace}/{resource}/{name}/{metric}"
V3_PATHS = [f"apis/{group.name}/{version}" for group in GROUPS for version in group.versions]

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


@pytest.fixture(scope="module")
def openapi() -> OpenAPI:
    """The documents."""
    return build_openapi(GROUPS)


def as_object(value: Json) -> JsonObject:
    """A JSON value that must be an object."""
    assert isinstance(value, dict)
    return value


def load(document: discovery.Document) -> JsonObject:
    """What a client reads."""
    return as_object(json.loads(document.body))


def at(document: Json, *path: str) -> JsonObject:
    """The object at a path in a document."""
    for key in path:
        document = as_object(document)[key]
    return as_object(document)


def schemas(document: JsonObject) -> JsonObject:
    """The schemas of a document of either version, by the name of their type."""
    named = (
        at(document, "definitions")
        if "definitions" in document
        else at(document, "components", "schemas")
    )
    return {name.removeprefix("gpu-metrics-server."): schema for name, schema in named.items()}


def references(node: Json) -> Iterator[str]:
    """Every reference in a document."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                assert isinstance(value, str)
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_version_2_is_valid(openapi: OpenAPI) -> None:
    """By the OpenAPI 2.0 specification, and complete in itself."""
    document = load(openapi.v2)
    assert document["swagger"] == "2.0"
    OpenAPIV2SpecValidator(document).validate()


@pytest.mark.parametrize("path", V3_PATHS)
def test_version_3_is_valid(openapi: OpenAPI, path: str) -> None:
    """By the OpenAPI 3.0 specification, and complete in itself."""
    document = load(openapi.v3[path])
    assert document["openapi"] == "3.0.0"
    OpenAPIV30SpecValidator(document).validate()


@pytest.mark.parametrize("path", ["", *V3_PATHS])
def test_every_reference_has_a_target_and_every_schema_a_use(openapi: OpenAPI, path: str) -> None:
    """The parser of kube-openapi refuses a whole document for one reference into nothing."""
    document = load(openapi.v3[path] if path else openapi.v2)
    named = {reference.rpartition("/")[2] for reference in references(document)}
    kept = {f"gpu-metrics-server.{name}" for name in schemas(document)}
    assert named <= kept
    # Version 2 has one schema an answer: those of the other media types stand there unused.
    if path:
        assert kept <= named


@pytest.mark.parametrize("path", V3_PATHS)
def test_the_two_versions_say_the_same(openapi: OpenAPI, path: str) -> None:
    """The paths of the group version have the same operations, parameters and answers."""
    v2, v3 = load(openapi.v2), load(openapi.v3[path])
    for below, item in at(v3, "paths").items():
        new, old = at(item, "get"), at(v2, "paths", below, "get")
        for key in ("operationId", "description"):
            assert new[key] == old[key]
        assert set(at(new, "responses")) == set(at(old, "responses"))
        for code, response in at(new, "responses").items():
            assert as_object(response)["description"] == at(old, "responses", code)["description"]
            schema = at(response, "content", "application/json", "schema")["$ref"]
            of_old = at(old, "responses", code, "schema")["$ref"]
            assert str(schema).rpartition("/")[2] == str(of_old).rpartition("/")[2]
        new_parameters, old_parameters = new["parameters"], old["parameters"]
        assert isinstance(new_parameters, list)
        assert isinstance(old_parameters, list)
        assert [
            {**at(p, "schema"), **{k: v for k, v in as_object(p).items() if k != "schema"}}
            for p in new_parameters
        ] == old_parameters
        assert list(at(new, "responses", "200", "content")) == old["produces"]
    for name, schema in schemas(v3).items():
        text = json.dumps(schema).replace("#/components/schemas/", "#/definitions/")
        assert json.loads(text) == schemas(v2)[name]


def test_the_paths_are_those_of_the_api(openapi: OpenAPI) -> None:
    """Version 2 has discovery and the metrics; version 3 what is below the group version."""
    external = "/apis/external.metrics.k8s.io/v1beta1/"
    new, old = (f"/apis/custom.metrics.k8s.io/{version}/" for version in ("v1beta2", "v1beta1"))
    below = ("", "namespaces/{namespace}/metrics/{metric}", OBJECT_PATH)
    assert {path: set(at(load(one), "paths")) for path, one in openapi.v3.items()} == {
        "apis/external.metrics.k8s.io/v1beta1": {external, METRIC_PATH},
        "apis/custom.metrics.k8s.io/v1beta2": {new + path for path in below},
        "apis/custom.metrics.k8s.io/v1beta1": {old + path for path in below},
    }
    assert set(at(load(openapi.v2), "paths")) == {
        "/apis/",
        "/apis/external.metrics.k8s.io/",
        "/apis/custom.metrics.k8s.io/",
        external,
        METRIC_PATH,
        *(base + path for base in (new, old) for path in below),
        "/version/",
    }


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_that_is_not_served_is_not_described(group: ApiGroup) -> None:
    """With one of the two APIs turned off, its paths and types are in no document."""
    documents = build_openapi([group])
    (other,) = {one.name for one in GROUPS} - {group.name}
    for document in (documents.v2, documents.v3_index, *documents.v3.values()):
        assert other.encode() not in document.body
        assert load(document)


def test_the_index_leads_to_the_document(openapi: OpenAPI) -> None:
    """Its address changes with its content."""
    paths = at(load(openapi.v3_index), "paths")
    assert list(paths) == V3_PATHS
    assert paths == {
        path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={openapi.v3[path].hash}"}
        for path in V3_PATHS
    }


def test_only_our_own_kinds_are_marked(openapi: OpenAPI) -> None:
    """A second /v1 Kind=Status in the merged document would break clients of the cluster."""
    marked = {
        name: as_object(schema)["x-kubernetes-group-version-kind"]
        for name, schema in schemas(load(openapi.v2)).items()
        if "x-kubernetes-group-version-kind" in as_object(schema)
    }
    custom = "custom.metrics.k8s.io"
    assert marked == {
        **{
            kind: [{"group": "external.metrics.k8s.io", "version": "v1beta1", "kind": kind}]
            for kind in ("ExternalMetricValue", "ExternalMetricValueList")
        },
        **{
            kind + suffix: [{"group": custom, "version": version, "kind": kind}]
            for kind in ("MetricValue", "MetricValueList")
            for suffix, version in (("", "v1beta2"), ("V1beta1", "v1beta1"))
        },
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_real_answers_validate(openapi: OpenAPI, name: str) -> None:
    """What is sent fits its schema, and has no field that the schema does not name."""
    document = as_object(closed(load(openapi.v2)))
    validator = OAS30Validator({**document, "$ref": f"#/definitions/gpu-metrics-server.{name}"})
    instance = json.loads(EXAMPLES[name])
    assert list(validator.iter_errors(instance)) == []
    assert not validator.is_valid({**instance, "unheardOf": True})


def closed(node: Json) -> Json:
    """A document in which no object may have fields beyond those that are named."""
    if isinstance(node, list):
        return [closed(value) for value in node]
    if not isinstance(node, dict):
        return node
    shut = {key: closed(value) for key, value in node.items()}
    if node.get("type") == "object" and "additionalProperties" not in node:
        shut["additionalProperties"] = False
    return shut


def test_an_answer_of_the_wrong_shape_does_not_validate(openapi: OpenAPI) -> None:
    """The schemas are strict enough to notice a value that is no string, and a missing one."""
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
    """The schema has the fields of the type that is encoded, and no others."""
    schema = as_object(schemas(load(openapi.v2))[type_.__name__])
    fields = {field.encode_name for field in structs.fields(type_)}
    assert set(at(schema, "properties")) == fields
    assert schema["description"]


def test_tables_are_offered_for_metrics(openapi: OpenAPI) -> None:
    """The media type that `kubectl get` asks for leads to the schema of a Table."""
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
    """As both specifications ask for, within a document."""
    operations = (*COMMON, *(one for group in OPERATIONS.values() for one in group))
    ids = [operation.operation_id for operation in operations]
    assert len(set(ids)) == len(ids)


def test_the_documents_are_the_same_at_each_start(openapi: OpenAPI) -> None:
    """Replicas have the same entity tags, so that a client behind a balancer need not reload."""
    assert build_openapi(GROUPS) == openapi
