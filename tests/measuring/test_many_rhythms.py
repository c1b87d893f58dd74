"""A namespace with very many questions takes nothing from the others."""

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from metrics_server.common.tasks import background
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.pods import Pod
from metrics_server.measuring.ahead import Ahead
from metrics_server.measuring.rhythms import Rhythms
from metrics_server.measuring.samples import Question
from metrics_server.measuring.spreading import Due, spread
from metrics_server.rules.model import MetricRule
from tests.support.clock import Clock
from tests.support.collecting import RULE
from tests.support.rhythms import MAX_AGE, PERIOD
from tests.support.waiting import until


def question(number: int, namespace: str = "theirs") -> Question:
    """One of many questions about the same pods."""
    return Question(namespace, "gpu_utilization", parse_selector(f"app in (a, x{number})"))


OURS = question(0, "ours")


def prepared(rhythms: Rhythms, start: float, end: float) -> list[Question]:
    """The questions prepared in that time."""
    begun, now = list[Question](), start
    while now < end:
        dues, pause = rhythms.start(now)
        begun += [one.question for one in dues if rhythms.begin(one, now)]
        now += pause
    return begun


def test_a_flood_of_questions_does_not_make_the_rhythms_of_others_forgotten() -> None:
    """Each has another selector, as any number of selectors can select the same pods."""
    rhythms = Rhythms(MAX_AGE, max_bytes=200_000)
    for times in range(6):
        rhythms.asked(OURS, times * PERIOD, 1)
        for number in range(200):
            rhythms.asked(question(200 * times + number), times * PERIOD + 1, 1)
    assert OURS in prepared(rhythms, 5.9 * PERIOD, 6 * PERIOD)


def test_of_more_questions_than_fit_some_are_prepared() -> None:
    """If the least recently asked were forgotten, each would be, just before it is asked again."""
    rhythms = Rhythms(MAX_AGE, max_bytes=200_000)
    for times in range(6):
        for number in range(200):
            rhythms.asked(question(number), times * PERIOD + number / 1000, 1)
    assert 20 < len(prepared(rhythms, 5.9 * PERIOD, 6.1 * PERIOD)) == len(rhythms) < 200


def test_questions_that_stopped_make_room_for_others() -> None:
    """They make room within a namespace, too."""
    rhythms = Rhythms(MAX_AGE, max_bytes=200_000)
    for number in range(200):
        rhythms.asked(question(number), 0, 1)
    for times in range(6):
        rhythms.asked(question(1000), 200 + times * PERIOD, 1)
    assert prepared(rhythms, 200 + 5.9 * PERIOD, 200 + 6 * PERIOD) == [question(1000)]


def test_what_is_due_is_planned_a_few_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions are not planned each time that one of them begins: there may be thousands."""
    rhythms = Rhythms(MAX_AGE)
    for times in range(6):
        for number in range(1000):
            rhythms.asked(question(number), times * PERIOD + number / 10_000, 1)
    plans = list[float]()

    def counting(dues: Sequence[Due], lead: float, now: float) -> list[float]:
        plans.append(now)
        return spread(dues, lead, now)

    monkeypatch.setattr("metrics_server.measuring.rhythms.spread", counting)
    begun = prepared(rhythms, 6 * PERIOD - 1.5, 6 * PERIOD + 0.5)
    assert len(begun) == len(set(begun)) == 1000
    assert len(plans) <= 10


def test_one_read_in_vain_ends_all_beats_of_a_question() -> None:
    """This includes those that were due in the meantime."""
    rhythms = Rhythms(MAX_AGE)
    beats = [first + times * PERIOD for times in range(8) for first in (0, 3, 6)]
    for now in beats:
        rhythms.asked(OURS, now, 1)
        prepared(rhythms, now, now + 0.01)
    assert len(prepared(rhythms, beats[-1] + 1, beats[-1] + 60)) == 1


class Held:
    """A source that never finishes reading for one namespace."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    async def prepare(self, _rule: MetricRule, pods: Sequence[Pod], _until: float, /) -> int:
        """Read nothing; hang for pods in the other namespace."""
        self.begun.append(pods[0].namespace)
        if pods[0].namespace == "theirs":
            await asyncio.Event().wait()
        return 0


def learn(rhythms: Rhythms, questions: Sequence[Question], now: float) -> None:
    """Record these as asked regularly, and due in a period."""
    for times in range(5, -1, -1):
        for one in questions:
            rhythms.asked(one, now - times * PERIOD, 1)


def selected(one: Question) -> tuple[MetricRule, Sequence[Pod]]:
    """A pod in the question's namespace."""
    return RULE, [Pod(one.namespace, "a", {}, "a", "Running", True, False, 1)]  # noqa: FBT003


async def test_questions_whose_exporters_hang_do_not_hold_up_those_of_others() -> None:
    """However many exporters hang, other namespaces' questions are prepared."""
    rhythms, clock, source = Rhythms(MAX_AGE), Clock(1000), Held()
    learn(rhythms, [*map(question, range(30)), OURS], clock())
    ahead = Ahead(rhythms, selected, {"exporters": source}, clock)
    async with background("ask-ahead", ahead.run):
        clock.advance(PERIOD - 0.5)
        clock.advance(0.48)
        await until(lambda: "ours" in source.begun)
    assert source.begun.count("theirs") <= 8


class Recording(Rhythms):
    """Records the durations of preparations."""

    def __init__(self, max_age: float) -> None:
        super().__init__(max_age)
        self.took: list[float] = []

    def prepared(self, due: Due, *, pages: int, began: float, ended: float) -> None:
        """Record the duration, and continue."""
        self.took.append(ended - began)
        super().prepared(due, pages=pages, began=began, ended=ended)


async def test_how_long_it_took_is_known_of_a_preparation_that_took_too_long() -> None:
    """The next one should begin earlier."""
    rhythms, clock, source = Recording(0.1), Clock(1000), Held()
    learn(rhythms, [question(1)], clock())
    ahead = Ahead(rhythms, selected, {"exporters": source}, clock)
    async with background("ask-ahead", ahead.run):
        clock.advance(PERIOD - 0.01)
        await until(lambda: source.begun == ["theirs"])
        clock.advance(0.06)
        await until(lambda: bool(rhythms.took))
    assert rhythms.took == [pytest.approx(0.06)]


class Broken:
    """A source whose every preparation fails."""

    async def prepare(self, _rule: MetricRule, _pods: Sequence[Pod], _until: float, /) -> int:
        """Fail."""
        raise ZeroDivisionError


async def test_a_preparation_that_fails_says_nothing_about_the_next() -> None:
    """A failed preparation does not know the number of pages."""
    rhythms, clock = Recording(MAX_AGE), Clock(1000)
    learn(rhythms, [question(1)], clock())
    ahead = Ahead(rhythms, selected, {"exporters": Broken()}, clock)
    with capture_logs() as logs:
        async with background("ask-ahead", ahead.run):
            clock.advance(PERIOD - 0.01)
            await until(lambda: bool(logs))
    assert [log["event"] for log in logs] == ["asking ahead failed"]
    assert not rhythms.took


async def test_other_tasks_get_their_turn_between_two_questions() -> None:
    """Selecting the pods of a large namespace takes a while."""
    rhythms, clock, source = Rhythms(MAX_AGE), Clock(1000), Held()
    questions = [question(number, f"n{number}") for number in range(50)]
    learn(rhythms, questions, clock())
    turn, turns = 0, list[int]()

    def select(one: Question) -> tuple[MetricRule, Sequence[Pod]]:
        turns.append(turn)
        return selected(one)

    async with background("ask-ahead", Ahead(rhythms, select, {"exporters": source}, clock).run):
        clock.advance(PERIOD - 0.01)
        while len(turns) < len(questions):
            await asyncio.sleep(0)
            turn += 1
    assert max(map(turns.count, turns)) <= 2
