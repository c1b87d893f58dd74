"""Reads the configuration file, and reports all problems in it at once, each with its path."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from metrics_server.common.text import printable
from metrics_server.config.document import DocumentError, parse_document, read_document
from metrics_server.config.sections import Config
from metrics_server.errors import ConfigurationError

_MAX_PROBLEMS = 50
_MAX_MESSAGE = 400
# How pydantic says what a value should be, and the same in a reader's words.
_SHOULD = "Input should be "
_KINDS: Mapping[str, str] = {
    "a valid boolean": "true or false",
    "a valid tuple": "a list",
    "a valid list": "a list",
    "a valid dictionary": "a mapping",
    "a valid string": "a text",
    "a valid number": "a number",
    "a valid integer": "a whole number",
}
_OVERRIDDEN = ", with the settings that flags override"


def load_config(path: Path | None, overrides: Mapping[str, object] | None = None) -> Config:
    """Return the configuration in a YAML file, with the settings that flags override.

    Args:
        path: the file; None for the defaults of all settings.
        overrides: values of top-level settings, by their names in the file.

    Raises:
        ConfigurationError: the file cannot be read or is not YAML, or a setting is wrong; the
            message has a line for each problem, with the setting's path.
    """
    try:
        document = {} if path is None else read_document(path)
    except DocumentError as error:
        raise ConfigurationError(f"{path}{error}") from error
    source = str(path) if path else "the flags"
    return _config(document, f"{source}{_OVERRIDDEN}" if path and overrides else source, overrides)


def parse_config(data: bytes, source: str, overrides: Mapping[str, object] | None = None) -> Config:
    """Return the configuration in the text of a file, such as a ConfigMap's.

    Args:
        data: the text.
        source: where it is from, for messages.
        overrides: as for `load_config`.

    Raises:
        ConfigurationError: as for `load_config`.
    """
    try:
        return _config(parse_document(data), source, overrides)
    except DocumentError as error:
        raise ConfigurationError(f"{source}{error}") from error


def _config(document: object, source: str, overrides: Mapping[str, object] | None) -> Config:
    if document is None:
        document = {}
    if overrides and isinstance(document, dict):
        document = {**document, **overrides}
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems = [f"{_where(problem)}: {_what(problem)}" for problem in found[:_MAX_PROBLEMS]]
        if len(found) > _MAX_PROBLEMS:
            problems.append(f"and {len(found) - _MAX_PROBLEMS} more")
        raise ConfigurationError(f"{source}:\n  " + "\n  ".join(problems)) from error


def _where(problem: ErrorDetails) -> str:
    return printable(".".join(map(str, problem["loc"]))) or "the file"


def _what(problem: ErrorDetails) -> str:
    if problem["type"] == "missing":
        return "is required"
    if problem["type"] != "extra_forbidden":
        text = problem["msg"].removeprefix("Value error, ")
        if text.startswith(_SHOULD):
            text = text.removeprefix(_SHOULD)
            kinds = (ours for kind, ours in _KINDS.items() if text.startswith(kind))
            text = f"must be {next(kinds, text)}"
        return printable(text, _MAX_MESSAGE)
    section: type[BaseModel] = Config
    for part in problem["loc"][:-1]:
        for field in section.model_fields.values():
            if field.alias == part:
                section = _section_in(field.annotation) or section
    known = [str(field.alias) for field in section.model_fields.values()]
    nearest = get_close_matches(str(problem["loc"][-1]), known, n=1)
    if nearest:
        return f"unknown setting; did you mean {nearest[0]}?"
    return f"unknown setting; the settings here are: {', '.join(known)}"


def _section_in(annotation: object) -> type[BaseModel] | None:
    """Return the section that is the type of a field, or of the items of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)
