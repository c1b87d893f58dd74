"""Questions over time, about pages that are read ahead or not, by a simulated clock."""

import random
from bisect import bisect_left
from collections.abc import Sequence
from heapq import heapify, heapreplace

from metrics_server.kube.labels import parse_selector
from metrics_server.measuring.rhythms import IDLE, STEP, Rhythms
from metrics_server.measuring.samples import Question

PERIOD = 15.0
MAX_AGE = 2.0
# The duration of a preparation in these tests.
SECONDS = 0.02


def seeded(seed: int) -> random.Random:
    """Repeatable randomness."""
    return random.Random(seed)  # noqa: S311 - not for secrets


class Outcome:
    """The outcome of questions asked at some times.

    Attributes:
        prepared: when questions were prepared.
        scraped: when a page was scraped, since the time of `after`.
        cold: how many questions had to wait for a scrape, since then.
        asked: how many there were, since then.
        oldest: the highest age of a page when its question was asked, since then.
    """

    def __init__(self) -> None:
        self.prepared: list[float] = []
        self.scraped: list[float] = []
        self.cold = self.asked = 0
        self.oldest = 0.0

    @property
    def scrapes(self) -> int:
        """How many times a page was scraped."""
        return len(self.scraped)

    def most_scrapes_within(self, seconds: float) -> int:
        """The most scrapes in such a period."""
        times = self.scraped
        return max(bisect_left(times, one + seconds) - n for n, one in enumerate(times))


class Player:
    """Acts as a server: questions and preparations read pages, which stay fresh for MAX_AGE.

    Args:
        nodes: the pages of each question.
        rhythms: learns from the questions; None if nothing is read ahead.
        after: when the outcome begins to count.
        begins: when to look first.

    Attributes:
        outcome: the outcome.
    """

    def __init__(
        self,
        nodes: Sequence[Sequence[int]],
        rhythms: Rhythms | None,
        after: float,
        begins: float = 0.0,
    ) -> None:
        self.outcome = Outcome()
        self._pages = {
            Question("default", "m", parse_selector(f"app=a{number}")): pages
            for number, pages in enumerate(nodes)
        }
        self._questions = tuple(self._pages)
        self._rhythms = rhythms
        self._after = after
        self._began: dict[int, float] = {}
        self._looks = begins

    def look(self, until: float) -> None:
        """Prepare what is due by then."""
        while self._rhythms is not None and self._looks <= until:
            dues, pause = self._rhythms.start(self._looks)
            for one in dues:
                if self._rhythms.begin(one, self._looks):
                    self.outcome.prepared.append(self._looks)
                    pages = self._scrape(one.question, self._looks, one.until)
                    began, ended = self._looks, self._looks + SECONDS
                    self._rhythms.prepared(one, pages=pages, began=began, ended=ended)
            assert STEP * 0.99 <= pause <= IDLE * 1.01
            self._looks += pause

    def ask(self, number: int, now: float) -> None:
        """Ask a question."""
        question = self._questions[number]
        scraped = self._scrape(question, now, now)
        if now >= self._after:
            self.outcome.asked += 1
            self.outcome.cold += scraped > 0
            age = now - min(self._began[page] for page in self._pages[question])
            self.outcome.oldest = max(self.outcome.oldest, age)
        if self._rhythms is not None:
            self._rhythms.asked(question, now, len(self._pages[question]))

    def _scrape(self, question: Question, now: float, until: float) -> int:
        """Scrape the question's pages that will not be fresh then; return how many."""
        old = [
            page
            for page in self._pages[question]
            if self._began.get(page, -MAX_AGE) + MAX_AGE <= until
        ]
        for page in old:
            self._began[page] = now
            if now >= self._after:
                self.outcome.scraped.append(now)
        return len(old)


def play(
    times: Sequence[tuple[float, int]],
    *,
    is_ahead: bool = True,
    nodes: Sequence[Sequence[int]] = ((0,),),
    after: float = 0.0,
    until: float = 0.0,
    rhythms: Rhythms | None = None,
) -> Outcome:
    """Ask questions at these times, in order.

    Args:
        times: each with a question's number.
        is_ahead: whether pages are read ahead.
        nodes: the pages of each question.
        after: when the outcome begins to count.
        until: how long to go on after the last question.
        rhythms: learns from the questions; new by default.
    """
    rhythms = Rhythms(MAX_AGE) if rhythms is None else rhythms
    player = Player(nodes, rhythms if is_ahead else None, after, times[0][0])
    for now, number in times:
        player.look(now)
        player.ask(number, now)
    player.look(until)
    return player.outcome


def regular(
    times: int, *, first: float = 0.0, number: int = 0, period: float = PERIOD
) -> list[tuple[float, int]]:
    """A question that is asked this many times, with this period."""
    return [(first + n * period, number) for n in range(times)]


def hpas(
    starts: Sequence[float], until: float, seed: int = 0, jitter: float = 0.02
) -> list[tuple[float, int]]:
    """When a controller asks for HPAs: a little over 15 s after it last asked for each."""
    chance = seeded(seed)
    due = [(start, number) for number, start in enumerate(starts)]
    heapify(due)
    times: list[tuple[float, int]] = []
    while due[0][0] <= until:
        now, number = due[0]
        times.append(due[0])
        heapreplace(due, (now + PERIOD + abs(chance.gauss(0, jitter)), number))
    return times
