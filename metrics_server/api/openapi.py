"""What is served, as OpenAPI 2.0 and 3.0: one description, written out in both.

The schemas are made from the types that answers are encoded from. kube-apiserver merges the
version 2 documents of all API servers into one, in which a kind may occur only once: a second
definition of, say, /v1 Kind=Status breaks every client that builds a type converter from it
(kubernetes/kubernetes#103597). Only our own kinds are therefore marked with
x-kubernetes-group-version-kind, and every schema has a unique name.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct, structs

from metrics_server import __version__
from metrics_server.api import discovery
from metrics_server.api.discovery import Document, encode
from metrics_server.api.negotiation import Offer
from metrics_server.api.status import Status
from metrics_server.api.table import TABLE_GROUP, TABLE_VERSION, Table
from metrics_server.api.types import (
    GROUP,
    GROUP_VERSION,
    VERSION,
    ExternalMetricValue,
    ExternalMetricValueList,
)

Json: TypeAlias = "str | bool | int | Struct | Sequence[Json] | Mapping[str, Json]"

JSON = Offer().content_type
TABLE = Offer(kind="Table", group=TABLE_GROUP, version=TABLE_VERSION).content_type

_GROUP_PATH = f"/apis/{GROUP_VERSION}/"
_SCHEMA_PREFIX = "gpu-metrics-server."
_OWN_KINDS = (ExternalMetricValue.__name__, ExternalMetricValueList.__name__)
_ERRORS = {
    400: "A parameter is malformed.",
    401: "The request is not authenticated.",
    403: "The caller is not authorized.",
    404: "The metric does not exist, or the selector matches no pod that requests a GPU.",
    405: "Watching is not supported.",
    406: "None of the accepted media types is available.",
    500: "The server failed, or could not authorize the caller.",
    503: "The metric cannot be measured at the moment.",
}


class GroupVersionKind(Struct, frozen=True):
    """An entry of x-kubernetes-group-version-kind."""

    kind: str
    group: str = GROUP
    version: str = VERSION


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


class Schema(
    Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "ref": "$ref",
        "any_of": "anyOf",
        "additional_properties": "additionalProperties",
        "kinds": "x-kubernetes-group-version-kind",
    },
):
    """A schema, limited to what JSON Schema and both versions of OpenAPI share."""

    ref: str = ""
    type: str = ""
    description: str = ""
    properties: Mapping[str, "Schema"] = {}
    additional_properties: "Schema | None" = None
    items: "Schema | None" = None
    required: tuple[str, ...] = ()
    any_of: tuple["Schema", ...] = ()
    kinds: tuple[GroupVersionKind, ...] = ()


class OpenAPI(Struct, frozen=True):
    """The OpenAPI documents.

    Attributes:
        v2: for /openapi/v2: everything, as OpenAPI 2.0.
        v3_index: for /openapi/v3: where the version 3 document is.
        v3: for /openapi/v3/apis/GROUP/VERSION: what is below that path, as OpenAPI 3.0.
    """

    v2: Document
    v3_index: Document
    v3: Document


OPERATIONS: tuple[Operation, ...] = (
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
    Operation(
        f"/apis/{GROUP}/",
        "getExternalMetricsAPIGroup",
        f"The versions of {GROUP}.",
        {JSON: discovery.APIGroup},
    ),
    Operation(
        _GROUP_PATH,
        "getExternalMetricsV1beta1APIResources",
        f"The metrics of {GROUP_VERSION}.",
        {JSON: discovery.APIResourceList},
    ),
    Operation(
        _GROUP_PATH + "namespaces/{namespace}/{metric}",
        "listExternalMetricsV1beta1NamespacedExternalMetricValue",
        "The value of a metric over the pods of a namespace that a selector matches.",
        {JSON: ExternalMetricValueList, TABLE: Table},
        (
            Parameter("namespace", "path", "string", "The namespace of the pods."),
            Parameter("metric", "path", "string", "The name of the metric; case does not matter."),
            Parameter("labelSelector", "query", "string", "Which pods; all by default."),
            Parameter("fieldSelector", "query", "string", "metadata.name or metadata.namespace."),
            Parameter("limit", "query", "integer", "Accepted and ignored."),
            Parameter("continue", "query", "string", "Accepted and ignored."),
            Parameter("resourceVersion", "query", "string", "Accepted and ignored."),
            Parameter("timeoutSeconds", "query", "integer", "Accepted and ignored."),
            Parameter("watch", "query", "boolean", "Must not be true."),
        ),
        tuple(_ERRORS),
        {
            "x-kubernetes-action": "list",
            "x-kubernetes-group-version-kind": GroupVersionKind(ExternalMetricValue.__name__),
        },
    ),
    Operation(
        "/version/", "getCodeVersion", "The version of this server.", {JSON: discovery.VersionInfo}
    ),
)


def build_openapi() -> OpenAPI:
    """Every OpenAPI document."""
    v3 = encode(_document_v3())
    path = f"apis/{GROUP_VERSION}"
    url = f"/openapi/v3/{path}?hash={v3.hash}"
    return OpenAPI(
        v2=encode(_document_v2()),
        v3_index=encode({"paths": {path: {"serverRelativeURL": url}}}),
        v3=v3,
    )


def _document_v2() -> dict[str, Json]:
    def answer(description: str, types: Mapping[str, type[Struct]]) -> Json:
        # OpenAPI 2.0 has one schema for all media types of an answer.
        usual = next(iter(types.values()))
        return {"description": description, "schema": Schema(ref=at + usual.__name__)}

    at = f"#/definitions/{_SCHEMA_PREFIX}"
    return {
        "swagger": "2.0",
        "info": {"title": "gpu-metrics-server", "version": __version__},
        "schemes": ["https"],
        "paths": {
            o.path: {
                "get": {
                    "produces": list(o.answers),
                    **_operation(o, answer, lambda p: {"type": p.type}),
                }
            }
            for o in OPERATIONS
        },
        "definitions": _schemas(OPERATIONS, at),
    }


def _document_v3() -> dict[str, Json]:
    def answer(description: str, types: Mapping[str, type[Struct]]) -> Json:
        content = {
            media_type: {"schema": Schema(ref=at + type_.__name__)}
            for media_type, type_ in types.items()
        }
        return {"description": description, "content": content}

    at = f"#/components/schemas/{_SCHEMA_PREFIX}"
    operations = [o for o in OPERATIONS if o.path.startswith(_GROUP_PATH)]
    return {
        "openapi": "3.0.0",
        "info": {"title": "gpu-metrics-server", "version": __version__},
        "paths": {
            o.path: {"get": _operation(o, answer, lambda p: {"schema": {"type": p.type}})}
            for o in operations
        },
        "components": {"schemas": _schemas(operations, at)},
    }


def _operation(
    operation: Operation,
    answer: Callable[[str, Mapping[str, type[Struct]]], Json],
    parameter_type: Callable[[Parameter], dict[str, Json]],
) -> dict[str, Json]:
    """An operation, in the form of one version of OpenAPI."""
    return {
        "operationId": operation.operation_id,
        "description": operation.description,
        "parameters": [
            {
                "name": p.name,
                "in": p.place,
                "required": p.place == "path",
                "description": p.description,
                **parameter_type(p),
            }
            for p in operation.parameters
        ],
        "responses": {
            "200": answer("OK", operation.answers),
            **{str(code): answer(_ERRORS[code], {JSON: Status}) for code in operation.errors},
        },
        **operation.extensions,
    }


def _schemas(operations: Iterable[Operation], at: str) -> dict[str, Schema]:
    """The schemas that operations refer to, by name."""
    types = [type_ for operation in operations for type_ in operation.answers.values()]
    _, components = msgspec.json.schema_components([*types, Status], ref_template=at + "{name}")
    kinds = {name: (GroupVersionKind(name),) for name in _OWN_KINDS}
    return {
        _SCHEMA_PREFIX + name: structs.replace(_common(schema), kinds=kinds.get(name, ()))
        for name, schema in msgspec.convert(components, dict[str, Schema]).items()
    }


def _common(schema: Schema) -> Schema:
    """A schema without null, which OpenAPI 2.0 and 3.0 lack and which is never sent."""
    if schema.any_of:
        return _common(next(s for s in schema.any_of if s.type != "null"))
    return structs.replace(
        schema,
        description=schema.description.partition("\n")[0],
        properties={name: _common(s) for name, s in schema.properties.items()},
    )
