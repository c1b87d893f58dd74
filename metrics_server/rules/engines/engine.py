"""The facts about an inference engine's own metrics page, as data."""

from collections.abc import Mapping

from msgspec import Struct

from metrics_server.rules.model import Reading

MAX_REQUESTS = 1_000_000
"""More requests than any engine holds: a higher value is garbage."""

MAX_TOKENS_PER_SECOND = 10_000_000
"""More tokens than any pod generates."""

MAX_SECONDS = 10_000
"""A longer wait than any client's: the highest bucket of the engines ends at 2560 s."""


class Engine(Struct, frozen=True):
    """Everything known about the page of an engine, or of a gateway.

    Attributes:
        name: the name of its file.
        metrics: for each metric of the catalogue, the ways to read it, in order of preference.
    """

    name: str
    metrics: Mapping[str, tuple[Reading, ...]]


def requests(
    family: str,
    *,
    where: tuple[tuple[str, str], ...] = (),
    copies: tuple[str, ...] = (),
    beside: tuple[str, ...] = (),
    zero_beside: tuple[str, ...] = (),
) -> Reading:
    """Return the reading of a family that counts requests."""
    return Reading(
        family,
        0,
        MAX_REQUESTS,
        where=where,
        copies=copies,
        beside=beside,
        zero_beside=zero_beside,
    )


def fraction(
    family: str,
    *,
    where: tuple[tuple[str, str], ...] = (),
    copies: tuple[str, ...] = (),
    beside: tuple[str, ...] = (),
) -> Reading:
    """Return the reading of a family that is a fraction from 0 to 1, as a percentage."""
    return Reading(family, 0, 1, 100, where=where, copies=copies, beside=beside)


def per_second(family: str, *, beside: tuple[str, ...] = ()) -> Reading:
    """Return the reading of a family that counts tokens, as a rate."""
    return Reading(family, 0, MAX_TOKENS_PER_SECOND, beside=beside, rate=True)


def p95(family: str, *, beside: tuple[str, ...] = ()) -> Reading:
    """Return the reading of a histogram of seconds, as its 95th percentile."""
    return Reading(family, 0, MAX_SECONDS, beside=beside, quantile=0.95)
