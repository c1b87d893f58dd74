"""Lines of the log at a level."""

from collections.abc import Mapping, Sequence

Line = Mapping[str, object]


def at_level(logs: Sequence[Line], level: str) -> list[Line]:
    """The lines at a level."""
    return [one for one in logs if one["log_level"] == level]
