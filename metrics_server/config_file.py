"""Reads the configuration file; every problem in it is told at once, by path."""

from pathlib import Path
from typing import get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from metrics_server.config import Config
from metrics_server.errors import ConfigurationError


def load_config(path: Path) -> Config:
    """The configuration of a YAML file.

    Raises:
        ConfigurationError: the file cannot be read or is not YAML, or a setting is wrong; the
            message has a line for each problem, with the setting's path.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document: object = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from error
    try:
        return Config.model_validate({} if document is None else document)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {_told(problem)}"
            for problem in error.errors()
        ]
        raise ConfigurationError(f"{path}:\n  " + "\n  ".join(problems)) from error


def _told(problem: ErrorDetails) -> str:
    if problem["type"] != "extra_forbidden":
        return problem["msg"].removeprefix("Value error, ")
    section: type[BaseModel] = Config
    for part in problem["loc"][:-1]:
        for field in section.model_fields.values():
            if field.alias == part:
                section = _section_in(field.annotation) or section
    known = ", ".join(str(field.alias) for field in section.model_fields.values())
    return f"there is no such setting; there are: {known}"


def _section_in(annotation: object) -> type[BaseModel] | None:
    """The section that a field is, or is a list of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)
