"""The API as OpenAPI 2.0 and 3.0: one description, written out in both.

The schemas are made from the types that answers are encoded from. kube-apiserver merges the
version 2 documents of all API servers into one, in which a kind may occur only once: a second
definition of, say, /v1 Kind=Status breaks every client that builds a type converter from it
(kubernetes/kubernetes#103597). Only our own kinds are therefore marked with
x-kubernetes-group-version-kind, and every schema has a unique name.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec
from msgspec import Struct, structs

from metrics_server import __version__
from metrics_server.api.discovery import Document, encode
from metrics_server.api.groups import ApiGroup
from metrics_server.api.operations import (
    COMMON,
    ERRORS,
    JSON,
    KINDS,
    OPERATIONS,
    GroupVersionKind,
    Json,
    Operation,
    Parameter,
)
from metrics_server.api.status import Status

_SCHEMA_PREFIX = "gpu-metrics-server."


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
        v3_index: for /openapi/v3: where the version 3 documents are.
        v3: for /openapi/v3/PATH, by path, such as "apis/external.metrics.k8s.io/v1beta1": what is
            below that path, as OpenAPI 3.0.
    """

    v2: Document
    v3_index: Document
    v3: Mapping[str, Document]


def build_openapi(groups: Iterable[ApiGroup]) -> OpenAPI:
    """Every OpenAPI document, for these groups."""
    return _build_openapi(tuple((group.name, group.versions) for group in groups))


# It is the same whatever metrics are served.
@lru_cache(maxsize=4)
def _build_openapi(groups: Sequence[tuple[str, Sequence[str]]]) -> OpenAPI:
    paths = [f"apis/{name}/{version}" for name, versions in groups for version in versions]
    operations = [one for name, _ in groups for one in OPERATIONS[name]]
    v3 = {
        path: encode(_document_v3([o for o in operations if o.path.startswith(f"/{path}/")]))
        for path in paths
    }
    index = {
        path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={document.hash}"}
        for path, document in v3.items()
    }
    return OpenAPI(
        v2=encode(_document_v2([*COMMON, *operations])), v3_index=encode({"paths": index}), v3=v3
    )


def _document_v2(operations: Sequence[Operation]) -> dict[str, Json]:
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
            for o in operations
        },
        "definitions": _schemas(operations, at),
    }


def _document_v3(operations: Sequence[Operation]) -> dict[str, Json]:
    def answer(description: str, types: Mapping[str, type[Struct]]) -> Json:
        content = {
            media_type: {"schema": Schema(ref=at + type_.__name__)}
            for media_type, type_ in types.items()
        }
        return {"description": description, "content": content}

    at = f"#/components/schemas/{_SCHEMA_PREFIX}"
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
            **{str(code): answer(ERRORS[code], {JSON: Status}) for code in operation.errors},
        },
        **operation.extensions,
    }


def _schemas(operations: Iterable[Operation], at: str) -> dict[str, Schema]:
    """The schemas that operations refer to, by name."""
    types = [type_ for operation in operations for type_ in operation.answers.values()]
    _, components = msgspec.json.schema_components([*types, Status], ref_template=at + "{name}")
    kinds = {type_.__name__: (kind,) for type_, kind in KINDS.items()}
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
