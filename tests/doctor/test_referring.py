"""An error that several checks report is printed in full once."""

import json

import pytest

from metrics_server.doctor.model import Outcome, Problem, Verdict, outcome_of
from metrics_server.doctor.output import as_json, as_text
from metrics_server.doctor.referring import referring
from metrics_server.simulator.faults import Fault
from tests.doctor.running import Run
from tests.doctor.scene import Scene

EXPORTERS = tuple(
    f"exporter http://10.0.0.{host}:9400/metrics did not answer" for host in (1, 2, 3, 4)
)
FAILED = Problem(
    "exporters-failed", "exporters", "gpu-1 and gpu-2: did not answer", "restart", quoted=EXPORTERS
)


def following(check: str, message: str, cause: str = "exporters-failed") -> Outcome:
    """A check's finding, as a consequence."""
    problem = Problem("some-reason", "metric x", message, "", follows=(cause,))
    return outcome_of(check, Verdict("", (problem,)))


def messages(*outcomes: Outcome) -> list[str]:
    """The messages of consequences of failed exporters."""
    cause = outcome_of("exporters-failed", Verdict("", (FAILED,)))
    first, *others = referring([cause, *outcomes])
    assert first == cause
    return [one.message for each in others for one in each.problems]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (EXPORTERS[0], "see exporters-failed"),
        (f"0 of 1 pods: {EXPORTERS[3]}", "0 of 1 pods: see exporters-failed"),
        (f"a: {EXPORTERS[1]}; {EXPORTERS[0]}", "a: see exporters-failed"),
        (f"a: {'; '.join(EXPORTERS[:3])} and 1 more", "a: see exporters-failed"),
        (f"a: {'; '.join(EXPORTERS)}"[:-9] + "…", "a: see exporters-failed"),
        (f"a: {EXPORTERS[0]}; and more", "a: see exporters-failed; and more"),
        ("a: gpu-1 and gpu-2: did not answer", "a: see exporters-failed"),
        # Another error from the same exporter is kept.
        ("exporter http://10.0.0.1:9400/metrics sent no text", None),
        ("", None),
    ],
)
def test_a_quoted_error_becomes_a_reference(message: str, expected: str | None) -> None:
    """Alone, in a list, in a truncated list; but another error stays."""
    assert messages(following("answer", message)) == [message if expected is None else expected]


def test_what_follows_is_printed_once_too() -> None:
    """In the shortest message, in any order; others refer to its check."""
    long = following("hpa-metrics", "it gets no metric: the page is odd", cause="other")
    short = following("measurement", "the page is odd", cause="other")
    same = following("answer", "the page is odd", cause="other")
    expected = ["it gets no metric: see measurement", "the page is odd", "see measurement"]
    assert messages(long, short, same) == expected


def test_notes_refer_too() -> None:
    """Such as the HPA's events."""
    cause = outcome_of("exporters-failed", Verdict("", (FAILED,)))
    note = outcome_of("hpa-events", Verdict("", notes=(f"at 12:00: {EXPORTERS[0]}",)))
    assert referring([cause, note])[1].notes == ("at 12:00: see exporters-failed",)


def test_json_has_every_message_in_full() -> None:
    """Scripts extract single problems from it."""
    cause = outcome_of("exporters-failed", Verdict("", (FAILED,)))
    outcomes = [cause, following("answer", EXPORTERS[0])]
    (first,), (second,) = (one["problems"] for one in json.loads(as_json(outcomes))["checks"])
    assert second["message"] == EXPORTERS[0]
    assert "quoted" not in first
    assert EXPORTERS[0] not in as_text(outcomes)


async def test_the_error_of_an_exporter_is_printed_once(scene: Scene, run: Run) -> None:
    """The doctor reads it, and the server reports it to the HPA, in the same words."""
    await scene.cluster.set_fault(Fault("down"))
    ran = await run("doctor", "-n", "default", "--hpa", "inference")
    assert ran.out.count("Connection refused") == 1, ran.out
    assert " pods have a measurement: see exporters-failed\n" in ran.out, ran.out


async def test_pages_without_pods_are_explained_once(scene: Scene, run: Run) -> None:
    """Neither the pods nor the missing setting are repeated."""
    await scene.cluster.set_fault(Fault("unlabelled"))
    ran = await run("doctor", "-n", "default", "--hpa", "inference")
    assert ran.out.count("DCGM_EXPORTER_KUBERNETES=true and") == 1, ran.out
    assert ran.out.count("gave no value for pod") == 1, ran.out
