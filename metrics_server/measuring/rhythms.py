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

from metrics_server.common.shares import SharedCache
from metrics_server.common.weight import weight
from metrics_server.measuring.samples import Question
from metrics_server.measuring.spreading import Due, spread

# How early a page is read at most, so that it is under a second old when the question is asked.
_LEAD = 1.0
# A beat needs this many equal intervals in a row.
_INTERVALS = 4
_MAX_PERIOD = 180.0
# How many times are searched for a new beat: several HPAs may ask the same question.
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
# Questions that are due soon are planned this often. Those that begin within a step begin together.
IDLE = 0.25
STEP = 0.01

# For some 5,000 questions.
_MAX_BYTES = 16 * 1024 * 1024
_MAX_QUESTION_BYTES = 16 * 1024
_RHYTHM_BYTES = 3 * 1024
# Planning more at once would block the event loop; the rest are not prepared.
_MAX_SOON = 5_000


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
    """The record of one question.

    Attributes:
        question: the question.
        asked: when it was last asked.
        times: when it was asked before, in order.
        beats: the periods that it follows.
        credit: below 0, it is not prepared.
        fresh_until: until when the pages prepared for it are fresh; 0 if it was asked since then.
        pages: how many pages were read for it the last time; before the first time, as many as it
            selects pods.
        seconds: how long that took; None before the first time.
    """

    __slots__ = ("asked", "beats", "credit", "fresh_until", "pages", "question", "seconds", "times")

    def __init__(self, question: Question, pods: int) -> None:
        self.question = question
        self.asked = float("-inf")
        self.times: list[float] = []
        self.beats: list[_Beat] = []
        self.credit = 0
        self.fresh_until = 0.0
        self.pages = pods
        self.seconds: float | None = None


class Rhythms:
    """When questions are due.

    Args:
        max_age: how long a page stays fresh, in seconds. A question that is repeated long before
            that is not prepared: it shares scrapes with itself.
        max_bytes: of memory; the namespace that has the most of it gets no more.

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
        self._now = 0.0
        self._rhythms: SharedCache[Question, _Rhythm] = SharedCache(max_bytes, self._is_over)
        # Each time that a question is due, in order; outdated where its beat has another by now.
        self._due: list[tuple[float, int, Question]] = []
        # The questions due soon, when to begin with each, and when to plan again.
        self._soon: Sequence[Due] = ()
        self._starts: Sequence[float] = ()
        self._planned_until = float("-inf")
        self._number = count()

    def __len__(self) -> int:
        """How many questions are remembered."""
        return len(self._rhythms)

    def asked(self, question: Question, now: float, pods: int) -> None:
        """Record that a question was asked, and answered by a measurement of this many pods."""
        self._now = now
        rhythm = self._rhythms.use(question.namespace, question)
        if rhythm is None:
            size = weight(question)
            if size > _MAX_QUESTION_BYTES:
                return
            rhythm = _Rhythm(question, pods)
            if not self._rhythms.put(question.namespace, question, rhythm, size + _RHYTHM_BYTES):
                return
        # Several that share a scrape count as one.
        if now < rhythm.asked + self.lead:
            return
        rhythm.asked = now
        if rhythm.seconds is None:
            rhythm.pages = pods
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
        if hit is not None:
            # With the question that is kept, which takes no more memory.
            heappush(self._due, (hit.due, next(self._number), rhythm.question))

    def start(self, now: float) -> tuple[Sequence[Due], float]:
        """Return the questions to prepare now, and when to look again, in seconds from now.

        Each is prepared as late as possible; several that are due at once, one after another.
        """
        if now + STEP > self._planned_until:
            self._plan(now)
        begun = bisect_left(self._starts, now + STEP)
        dues, self._soon = self._soon[:begun], self._soon[begun:]
        self._starts = self._starts[begun:]
        pause = min([*self._starts[:1], self._planned_until]) - now
        return dues, pause

    def is_needed(self, due: Due, now: float) -> bool:
        """Whether a question is still expected then, and may be prepared."""
        rhythm = self._rhythm(due.question)
        if rhythm is None or now > due.at + self.lead:
            return False
        return self._beat(rhythm, due.at, now) is not None

    def begin(self, due: Due, now: float) -> bool:
        """Record that a preparation begins now; return False if it is no longer needed."""
        rhythm = self._rhythm(due.question)
        if rhythm is None or not self.is_needed(due, now):
            return False
        self._settle(rhythm, now)
        if rhythm.credit < 0:
            return False
        rhythm.fresh_until = now + self._max_age
        return True

    def prepared(self, due: Due, *, pages: int, began: float, ended: float) -> None:
        """Record how many pages were read for a question, and from when to when."""
        self.pages += pages
        rhythm = self._rhythm(due.question)
        if rhythm is None:
            return
        # A question that was asked meanwhile has read some of its pages itself.
        rhythm.pages = pages if ended < due.at else max(pages, rhythm.pages)
        rhythm.seconds = ended - began

    def _plan(self, now: float) -> None:
        """Decide when to begin with the questions due soon, until the next plan."""
        soon = [(one.at, one.question) for one in self._soon]
        while self._due and self._due[0][0] <= now + self.lead + IDLE:
            at, _, question = heappop(self._due)
            if len(soon) < _MAX_SOON:
                soon.append((at, question))
        self._soon = sorted(filter(None, [self._expected(*one, now) for one in soon]), key=_at)
        self._starts = spread(self._soon, self.lead, now)
        self._planned_until = now + IDLE

    def _expected(self, at: float, question: Question, now: float) -> Due | None:
        """Return when a question is due, if it is still expected then and may be prepared."""
        rhythm = self._rhythm(question)
        beat = None if rhythm is None or now > at else self._beat(rhythm, at, now)
        if rhythm is None or beat is None:
            return None
        deviation = min(_DEVIATIONS * beat.deviation, _MAX_DEVIATION)
        early = min(self.lead, _MARGIN + deviation + (rhythm.seconds or 0))
        return Due(at, early, at + deviation, rhythm.pages, question)

    def _rhythm(self, question: Question) -> _Rhythm | None:
        return self._rhythms.get(question.namespace, question)

    def _beat(self, rhythm: _Rhythm, at: float, now: float) -> _Beat | None:
        """Return the beat by which a question is due then, if it may be prepared."""
        # A question that was asked just now may be asked all the time.
        if rhythm.credit < 0 or now < rhythm.asked + self._max_age - self.lead:
            return None
        for beat in rhythm.beats:
            if beat.due == at:
                return beat
        return None

    def _is_over(self, rhythm: _Rhythm) -> bool:
        return rhythm.asked < self._now - _MAX_PERIOD - self.lead

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


def _at(due: Due) -> float:
    return due.at


def _nearest(times: Sequence[float], moment: float) -> float:
    place = bisect_left(times, moment)
    return min(times[max(0, place - 1) : place + 1], key=lambda one: abs(one - moment))
