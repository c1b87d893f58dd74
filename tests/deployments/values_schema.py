"""The generated part of the chart's values.schema.json: the configuration file.

`make docs` writes it; `--check` fails if it differs from the code.
"""

import argparse
import json
import sys

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from metrics_server.config.sections import Config
from metrics_server.config.values import parse_duration
from metrics_server.simulator.kube.objects import Json, Object
from tests.deployments.manifests import DEPLOYMENTS, mapping

SCHEMA = DEPLOYMENTS / "helm" / "gpu-metrics-server" / "values.schema.json"
# The chart sets these with its own values and flags.
_SET_BY_THE_CHART = ("externalMetrics", "customMetrics", "certificates")
_PREFIX = "config."


class _Generator(GenerateJsonSchema):
    def function_before_schema(
        self, schema: core_schema.BeforeValidatorFunctionSchema
    ) -> JsonSchemaValue:
        if schema["function"]["function"] is parse_duration:
            return {"type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"}
        return super().function_before_schema(schema)


def definitions() -> dict[str, Json]:
    """The definition of each section of the configuration file, by its name in the schema."""
    root: Object = json.loads(
        json.dumps(
            Config.model_json_schema(
                ref_template=f"#/$defs/{_PREFIX}{{model}}", schema_generator=_Generator
            )
        )
    )
    sections = mapping(root.pop("$defs"))
    for name in _SET_BY_THE_CHART:
        del mapping(root, "properties")[name]
    del sections["CertificatesConfig"]
    return {
        f"{_PREFIX}{name}": _plain(section)
        for name, section in {"Config": root, **sections}.items()
    }


def _plain(schema: Json) -> Json:
    """A schema without titles and defaults, which Helm does not use."""
    match schema:
        case list():
            return [_plain(one) for one in schema]
        case dict():
            plain = {name: _plain(value) for name, value in schema.items()}
            # A property may have one of these names; it is then an object.
            return {
                name: value
                for name, value in plain.items()
                if not (name == "title" and isinstance(value, str))
                and not (name == "default" and not _is_schema(value))
            }
        case _:
            return schema


def _is_schema(value: Json) -> bool:
    return isinstance(value, dict) and bool(value.keys() & {"type", "$ref", "anyOf"})


def text() -> str:
    """The schema, with current definitions from the code."""
    document: Object = json.loads(SCHEMA.read_text(encoding="utf-8"))
    kept = {
        name: one
        for name, one in mapping(document, "$defs").items()
        if not name.startswith(_PREFIX)
    }
    document["$defs"] = kept | definitions()
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the schema, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if it would")
    check = parser.parse_args().check
    new = text()
    if new == SCHEMA.read_text(encoding="utf-8"):
        return 0
    if check:
        print(f"{SCHEMA} is not as the code has it: run `make docs`")  # noqa: T201 - a command
        return 1
    SCHEMA.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
