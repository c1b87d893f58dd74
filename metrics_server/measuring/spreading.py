"""Spreads the preparation of questions that are due at once over the time before."""

from collections.abc import Sequence

from msgspec import Struct

from metrics_server.measuring.samples import Question

# The seconds between two pages, if there is time. A page takes half of that, and answers take time.
_SPACING = 0.0008


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

    @property
    def begin(self) -> float:
        """When the preparation should begin, if nothing else is due."""
        return self.at - self.early


def spread(dues: Sequence[Due], lead: float, now: float) -> list[float]:
    """Return when to begin with each of these, which are in order of time.

    Each begins as late as possible, and before what is due after it; the more pages it needs, the
    earlier. Where that would be earlier than `lead` allows, or in the past, all that follow one
    another without a pause move together.
    """
    starts: list[float] = []
    place = len(dues)
    while place:
        first, latest = _latest(dues, place)
        end = dues[place - 1].begin
        earliest = [max(one.at - lead, now) for one in dues[first:place]]
        # The share of the time they would take that is left.
        share = min(
            [
                max(0.0, end - bound) / (end - start)
                for start, bound in zip(latest, earliest, strict=True)
                if start < bound
            ],
            default=1.0,
        )
        in_time = end
        for one, start, bound in zip(
            dues[first:place][::-1], latest[::-1], earliest[::-1], strict=True
        ):
            in_time = min(in_time, one.begin)
            starts.append(max(bound, min(in_time, end - share * (end - start))))
        place = first
    return starts[::-1]


def _latest(dues: Sequence[Due], place: int) -> tuple[int, list[float]]:
    """Return where those begin that follow one another up to a place, and their latest starts."""
    following = dues[place - 1].begin
    starts: list[float] = []
    while place and (not starts or dues[place - 1].begin >= following):
        place -= 1
        following -= max(1, dues[place].pages) * _SPACING
        starts.append(following)
    return place, starts[::-1]
