"""Learns when questions will be asked again, from when they were asked.

The HPA controller repeats a question every 15 s by default, counted from when it last finished with
the HPA. Several HPAs may ask the same question, each at its own times, and people ask in between.
So a question has a few beats: periods that its times have followed several times in a row. A beat
is dropped the first time it is missed.

A question that was prepared but not asked cost scrapes for nothing. It must then be on time twenty
times before it may be prepared again.
"""

from bisect import bisect_left
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count

from msgspec import Struct

from metrics_server.common.weight import BytesLRU, weight
from metrics_server.measuring.samples import Question

# How early a page is read at most, so that it is under a second old when the question is asked.
_LEAD = 1.0
# A beat needs this many equal intervals in a row.
_INTERVALS = 4
_MAX_PERIOD = 180.0
# The times that are searched for a new beat: of several HPAs with the same question.
_TIMES = 24
_MAX_BEATS = 4
# How many times a question must be on time for each time that it was prepared for nothing.
_PRICE = 20
# How long before its time a question should be ready: at least, and by its usual deviation. A page
# that is read earlier also expires earlier, and may have to be scraped once more.
_MARGIN = 0.03
_DEVIATIONS = 2.0
_MAX_DEVIATION = 0.2
# The weight of the newest interval in a beat's period and deviation.
_NEWEST = 0.25
# The seconds between two pages, if there is time.
_SPACING = 0.001
# What is due soon is looked up at least this often. What begins within a step begins together.
IDLE = 0.25
STEP = 0.01

_MAX_BYTES = 8 * 1024 * 1024
_MAX_QUESTION_BYTES = 16 * 1024
_RHYTHM_BYTES = 2 * 1024
_MAX_DUE = 20_000


class Due(Struct, frozen=True, eq=False, gc=False):
    """A time at which a question is expected.

    Attributes:
        at: the time.
        early: how long before it the preparation should begin, if nothing else is due.
        until: until when the pages must be fresh.
        pages: how many pages were read for it the last time.
        question: the question.
    """

    at: float
    early: float
    until: float
    pages: int
    question: Question


class _Beat:
    """A period of a question."""

    __slots__ = ("deviation", "due", "period")

    def __init__(self, period: float, now: float) -> None:
        self.period = period
        self.due = now + period
        self.deviation = 0.0

    def hit(self, now: float) -> None:
        """Record that the question was asked on time."""
        off = now - self.due
        self.deviation += _NEWEST * (abs(off) - self.deviation)
        self.period += _NEWEST * off
        self.due = now + self.period


class _Rhythm:
    """What is known of one question.

    Attributes:
        asked: when it was last asked.
        times: when it was asked before, in order.
        beats: the periods that it follows.
        credit: below 0, it is not prepared.
        fresh_until: until when the pages prepared for it are fresh; 0 if it was asked since then.
        pages: how many pages were read for it the last time.
        seconds: how long that took.
    """

    __slots__ = ("asked", "beats", "credit", "fresh_until", "pages", "seconds", "times")

    def __init__(self) -> None:
        self.asked = float("-inf")
        self.times: list[float] = []
        self.beats: list[_Beat] = []
        self.credit = 0
        self.fresh_until = 0.0
        self.pages = 1
        self.seconds = 0.0


class Rhythms:
    """When questions are due.

    Args:
        max_age: how long a page stays fresh, in seconds. A question that is repeated long before
            that is not prepared: it shares scrapes with itself.
        max_bytes: of memory; the least recently asked questions are dropped.

    Attributes:
        used: how many times a question was prepared and then asked.
        unused: how many times it was not.
        pages: how many pages were read ahead.
    """

    def __init__(self, max_age: float, max_bytes: int = _MAX_BYTES) -> None:
        self.lead = min(_LEAD, max_age / 2)
        self.used = 0
        self.unused = 0
        self.pages = 0
        self._max_age = max_age
        self._rhythms: BytesLRU[Question, _Rhythm] = BytesLRU(max_bytes)
        # Each time that a question is due, in order; outdated where its beat has another by now.
        self._due: list[tuple[float, int, Question]] = []
        self._soon: list[tuple[float, Question]] = []
        self._number = count()

    def __len__(self) -> int:
        """How many questions are remembered."""
        return len(self._rhythms)

    def asked(self, question: Question, now: float) -> None:
        """Record that a question was asked, and answered by a measurement."""
        rhythm = self._rhythms.get(question)
        if rhythm is None:
            size = weight(question)
            if size > _MAX_QUESTION_BYTES:
                return
            rhythm = _Rhythm()
            self._rhythms.put(question, rhythm, size + _RHYTHM_BYTES)
        # Several that share a scrape count as one.
        if now < rhythm.asked + self.lead:
            return
        rhythm.asked = now
        self._settle(rhythm, now)
        rhythm.times.append(now)
        del rhythm.times[:-_TIMES]
        hit = next((one for one in rhythm.beats if abs(now - one.due) <= self.lead), None)
        rhythm.beats = [one for one in rhythm.beats if one is hit or now <= one.due + self.lead]
        if hit is not None:
            hit.hit(now)
            rhythm.credit = min(rhythm.credit + 1, _PRICE)
        elif len(rhythm.beats) < _MAX_BEATS:
            period = self._period(rhythm.times)
            hit = _Beat(period, now) if period else None
            rhythm.beats += [hit] if hit else []
        if hit is not None and len(self._due) < _MAX_DUE:
            heappush(self._due, (hit.due, next(self._number), question))

    def start(self, now: float) -> tuple[Sequence[Due], float]:
        """Return the questions to prepare now, and when to look again, in seconds from now.

        Each is prepared as late as possible; several that are due at once, one after another.
        """
        while self._due and self._due[0][0] <= now + self.lead + IDLE:
            at, _, question = heappop(self._due)
            self._soon.append((at, question))
        dues = sorted(filter(None, [self._expected(*one, now) for one in self._soon]), key=_at)
        starts = spread(dues, self.lead, now)
        begun = bisect_left(starts, now + STEP)
        self._soon = [(one.at, one.question) for one in dues[begun:]]
        pause = min([*starts[begun : begun + 1], now + IDLE]) - now
        return dues[:begun], pause

    def begin(self, due: Due, now: float) -> bool:
        """Record that a preparation begins now; return False if it is no longer needed."""
        rhythm = self._rhythms.get(due.question)
        if rhythm is None or rhythm.asked > due.at - self.lead or now > due.at + self.lead:
            return False
        self._settle(rhythm, now)
        rhythm.fresh_until = now + self._max_age
        return True

    def prepared(self, due: Due, *, pages: int, seconds: float) -> None:
        """Record how many pages were read for a question, and how long that took."""
        self.pages += pages
        rhythm = self._rhythms.get(due.question)
        if rhythm is not None:
            rhythm.pages, rhythm.seconds = pages, seconds

    def _expected(self, at: float, question: Question, now: float) -> Due | None:
        """Return when a question is due, if it is still expected then and may be prepared."""
        rhythm = self._rhythms.get(question)
        if rhythm is None or rhythm.credit < 0 or now > at:
            return None
        beat = next((one for one in rhythm.beats if one.due == at), None)
        # A question that was asked just now may be asked all the time.
        if beat is None or now < rhythm.asked + self._max_age - self.lead:
            return None
        deviation = min(_DEVIATIONS * beat.deviation, _MAX_DEVIATION)
        early = min(self.lead, _MARGIN + deviation + rhythm.seconds)
        return Due(at, early, at + deviation, rhythm.pages, question)

    def _settle(self, rhythm: _Rhythm, now: float) -> None:
        """Count the last preparation as used or unused."""
        if not rhythm.fresh_until:
            return
        if now <= rhythm.fresh_until:
            self.used += 1
        else:
            self.unused += 1
            rhythm.credit -= _PRICE
        rhythm.fresh_until = 0.0

    def _period(self, times: Sequence[float]) -> float | None:
        """Return the shortest period that the newest of these times continues, if any."""
        now = times[-1]
        for before in times[-2::-1]:
            period = now - before
            if period > _MAX_PERIOD:
                break
            first = [_nearest(times, now - period * n) for n in range(2, _INTERVALS + 1)]
            off = (abs(one - now + period * n) for n, one in enumerate(first, start=2))
            if max(off) <= self.lead / 2:
                return (now - first[-1]) / _INTERVALS
        return None


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


def _at(due: Due) -> float:
    return due.at


def _nearest(times: Sequence[float], moment: float) -> float:
    place = bisect_left(times, moment)
    return min(times[max(0, place - 1) : place + 1], key=lambda one: abs(one - moment))
