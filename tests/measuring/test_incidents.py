"""A lasting incident is a few log lines, not one per answer."""

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from metrics_server.errors import MeasurementMissingError
from metrics_server.kube.labels import parse_selector
from metrics_server.measuring.incidents import Change, Incidents
from metrics_server.measuring.samples import Question
from tests.support.clock import Clock

QUESTION = Question("ml", "gpu_utilization", parse_selector("app=a"))
FAILED = MeasurementMissingError("0 of 1 pods have a measurement: why", "exporters-failed")
OTHER = MeasurementMissingError("0 of 1 pods have a measurement: other", "no-sample")
DAY = 24 * 3600


class Stage:
    """Incidents, and the reports about them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.changes: list[Change] = []
        self.incidents = Incidents(clock=self.clock)
        self.incidents.follow(self.changes.append)

    def missing(
        self,
        question: Question = QUESTION,
        answered: str = "simulated",
        error: MeasurementMissingError = FAILED,
    ) -> None:
        """Report a question without a measurement."""
        self.incidents.missing(question, (), answered, error)

    def measured(self, question: Question = QUESTION) -> None:
        """Report a question with one."""
        self.incidents.measured(question, (), "exporters")


@pytest.fixture
def stage() -> Stage:
    """The stage."""
    return Stage()


def test_a_day_without_measurements_is_logged_every_five_minutes(stage: Stage) -> None:
    """HPAs ask every 15 seconds; each line has the beginning, and the number of answers since."""
    with capture_logs() as logs:
        for _ in range(DAY // 15):
            stage.missing()
            stage.clock.advance(15)
    assert len(logs) == DAY // 300
    assert {log["event"] for log in logs} == {"Failed to get real metrics"}
    assert logs[0] == {
        "event": "Failed to get real metrics",
        "log_level": "warning",
        "answered": "simulated",
        "metric": "gpu_utilization",
        "namespace": "ml",
        "selector": "app=a",
        "reason": "exporters-failed",
        "error": str(FAILED),
    }
    assert (logs[1]["answers"], logs[1]["seconds"]) == (21, 300)
    assert len(stage.changes) == 1


def test_its_end_is_logged_once(stage: Stage) -> None:
    """The line has the duration; the next incident is a new one."""
    with capture_logs() as logs:
        stage.missing()
        stage.clock.advance(90)
        stage.missing()
        stage.measured()
        stage.measured()
    assert logs[1:] == [
        {
            "event": "real metrics are back",
            "log_level": "info",
            "metric": "gpu_utilization",
            "namespace": "ml",
            "selector": "app=a",
            "answers": 2,
            "seconds": 90,
        }
    ]
    assert [change.is_end for change in stage.changes] == [False, True]
    stage.missing()
    assert [change.is_end for change in stage.changes] == [False, True, False]


def test_each_turn_is_logged_once(stage: Stage) -> None:
    """Another reason or kind of answer is logged, but not the same one again."""
    turns = [("last-known", FAILED), ("last-known", OTHER), ("simulated", OTHER), ("error", OTHER)]
    with capture_logs() as logs:
        for _ in range(5):
            for answered, error in turns:
                stage.clock.advance(1)
                stage.missing(answered=answered, error=error)
    assert [(log["answered"], log["reason"]) for log in logs] == [
        (answered, error.reason) for answered, error in turns
    ]
    assert [(change.answered, change.error) for change in stage.changes] == [
        (answered, str(error)) for answered, error in turns
    ]


def test_each_question_has_its_own(stage: Stage) -> None:
    """Another selector, form or pod is another question."""
    others = [
        structs.replace(QUESTION, selector=parse_selector("app=b")),
        structs.replace(QUESTION, form="pods"),
        structs.replace(QUESTION, form="pods", pod="p"),
        structs.replace(QUESTION, namespace="web"),
    ]
    stage.missing()
    for other in others:
        stage.measured(other)
        stage.missing(other)
    assert [change.question for change in stage.changes] == [QUESTION, *others]
    stage.measured()
    assert stage.changes[-1].question == QUESTION


def test_a_question_that_is_no_longer_asked_is_forgotten(stage: Stage) -> None:
    """Its HPA may be gone, and the outcome is unknown."""
    stage.missing()
    stage.clock.advance(601)
    with capture_logs() as logs:
        stage.measured()
    assert logs == []


def test_any_number_of_questions(stage: Stage) -> None:
    """A caller with ever new selectors neither fills the log nor hides other incidents."""
    asked = [
        structs.replace(QUESTION, selector=parse_selector(f"n={number}")) for number in range(1000)
    ]
    other = structs.replace(QUESTION, namespace="web")
    with capture_logs() as logs:
        for question in asked:
            stage.missing(question)
        stage.missing(other)
    assert len(logs) == len(stage.changes) == 301
    assert stage.changes[-1].question == other
    # A question that is still asked later begins its incident later.
    stage.clock.advance(15)
    stage.missing(asked[-1])
    assert stage.changes[-1].question == asked[-1]
    stage.measured(asked[-1])
    assert stage.changes[-1].is_end
