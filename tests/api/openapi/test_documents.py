"""The OpenAPI documents are valid and describe the API."""

import json
from collections.abc import Iterator

import pytest
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV30SpecValidator

from metrics_server.api.groups import ApiGroup
from metrics_server.api.openapi import OpenAPI, build_openapi
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

V3_PATHS = [f"apis/{group.name}/{version}" for group in GROUPS for version in group.versions]


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
    """Under the OpenAPI 2.0 specification, and complete in itself."""
    document = load(openapi.v2)
    assert document["swagger"] == "2.0"
    OpenAPIV2SpecValidator(document).validate()


@pytest.mark.parametrize("path", V3_PATHS)
def test_version_3_is_valid(openapi: OpenAPI, path: str) -> None:
    """Under the OpenAPI 3.0 specification, and complete in itself."""
    document = load(openapi.v3[path])
    assert document["openapi"] == "3.0.0"
    OpenAPIV30SpecValidator(document).validate()


@pytest.mark.parametrize("path", ["", *V3_PATHS])
def test_every_reference_has_a_target_and_every_schema_a_use(openapi: OpenAPI, path: str) -> None:
    """kube-openapi's parser rejects a whole document for one dangling reference."""
    document = load(openapi.v3[path] if path else openapi.v2)
    named = {reference.rpartition("/")[2] for reference in references(document)}
    kept = {f"gpu-metrics-server.{name}" for name in schemas(document)}
    assert named <= kept
    # Version 2 has one schema per answer: those of the other media types are unused there.
    if path:
        assert kept <= named


@pytest.mark.parametrize("path", V3_PATHS)
def test_the_two_versions_say_the_same(openapi: OpenAPI, path: str) -> None:
    """The group version's paths have the same operations, parameters and answers."""
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
    """Version 2 has discovery and the metrics; version 3 has the paths below the group version."""
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
    """If one of the two APIs is turned off, its paths and types are in no document."""
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
