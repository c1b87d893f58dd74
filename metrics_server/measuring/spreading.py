"""Spreads the preparations of what is due at once over the time before."""

from collections.abc import Sequence

from msgspec import Struct

from metrics_server.measuring.samples import Question

# The seconds between two pages, if there is time.
_SPACING = 0.0004


class Due(Struct, frozen=True, eq=False, gc=False):
    """A time at which a question is expected.

    Attributes:
        at: the time.
        early: how long before it the preparation should begin, if nothing else is due.
        until: until when the pages must be fresh.
        pages: how many pages it is expected to need.
        question: the question.
    """

    at: float
    early: float
    until: float
    pages: int
    question: Question


def spread(dues: Sequence[Due], lead: float, now: float) -> list[float]:
    """Return when to begin with each of these, which are in order of time.

    Each begins as late as possible, and before what is due after it; the more pages it needs, the
    earlier. Where that would be earlier than `lead` allows, or in the past, they move together.
    """
    starts = _starts(dues, _SPACING)
    first = [max(one.at - lead, now) for one in dues]
    # The part of the time they would take that is left.
    share = min(
        [
            (one.at - earliest) / (one.at - start)
            for one, start, earliest in zip(dues, starts, first, strict=True)
        ],
        default=1.0,
    )
    if share < 1:
        starts = _starts(dues, _SPACING * max(0.0, share))
    return [max(*both) for both in zip(starts, first, strict=True)]


def _starts(dues: Sequence[Due], spacing: float) -> list[float]:
    starts: list[float] = []
    following = float("inf")
    for one in reversed(dues):
        following = min(following, one.at - one.early) - max(1, one.pages) * spacing
        starts.append(following)
    return starts[::-1]
