"""Splits a metric's selector: what it requires of pods, and of the rows on their pages."""

from metrics_server.errors import BadRequestError
from metrics_server.kube.labels import Requirement, Selector
from metrics_server.rules.series import PREFIX, SeriesRequirement, SeriesSelector

_ABSENT = ("",)


def split(selector: Selector) -> tuple[Selector, SeriesSelector]:
    """Return the requirements on labels of pods, and those under series/ on labels of rows.

    Raises:
        BadRequestError: one of the latter compares numbers.
    """
    of_series = [one for one in selector.requirements if one.key.startswith(PREFIX)]
    if not of_series:
        return selector, SeriesSelector()
    of_pods = tuple(one for one in selector.requirements if not one.key.startswith(PREFIX))
    requirements = {_requirement(one) for one in of_series}
    return Selector(of_pods), SeriesSelector(tuple(sorted(requirements)))


def _requirement(one: Requirement) -> SeriesRequirement:
    if one.operator in ("gt", "lt"):
        raise BadRequestError(
            f"{one}: labels of series cannot be compared by > or <; use =, !=, in or notin"
        )
    return SeriesRequirement(
        one.key.removeprefix(PREFIX), one.operator in ("=", "in", "!"), one.values or _ABSENT
    )
