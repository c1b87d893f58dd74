"""The base class of configuration sections, and durations."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
_MAX_DURATION = 24 * 3600
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")


def parse_duration(text: object) -> float:
    """Return the seconds of a duration as Go and Kubernetes write it: "2s", "500ms", "1m30s".

    Raises:
        ValueError: it is not a duration, or it is longer than a day.
    """
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; write it as 2s, 500ms or 1m30s")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))
    if seconds > _MAX_DURATION:
        raise ValueError(f"must be at most {_MAX_DURATION // 3600}h")
    return seconds


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be longer than 0s")
    return seconds


Duration = Annotated[float, BeforeValidator(parse_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]


class Section(BaseModel):
    """A section of the configuration file: strict types, names in camelCase, no unknown names."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        alias_generator=to_camel,
        populate_by_name=True,
    )
