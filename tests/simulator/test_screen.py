"""The demo's output, to a pipe and in a terminal."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from io import StringIO

import pytest
from msgspec import structs

from metrics_server.simulator.demo.moments import Moment, QueueMoment, UtilizationMoment
from metrics_server.simulator.demo.screen import screen

MOMENT = UtilizationMoment(
    seconds=4.2,
    demand=537,
    utilization=89.6,
    target=70,
    ready=6,
    replicas=8,
    source="exporters",
    pods="6/6",
    reason="gpu_utilization is 90, above the target of 70",
)
UNKNOWN = structs.replace(
    MOMENT, utilization=None, source="error", pods="", reason="it cannot be had"
)
QUEUE = QueueMoment(
    seconds=42.4,
    arrivals=16.84,
    waiting=3.5,
    target=2,
    utilization=100,
    held=12,
    ready=1,
    replicas=12,
    source="pods",
    reason="llm_requests_waiting averages 3.5",
)
ASLEEP = structs.replace(
    QUEUE, waiting=None, utilization=None, ready=0, replicas=0, source="error", reason="it sleeps"
)

Terminal = Callable[[Iterable[Moment | str]], str]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Returns the output for moments and notes in an 80x24 terminal, without styles."""
    for name, value in {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)

    def show_all(moments: Iterable[Moment | str]) -> str:
        master, slave = pty.openpty()
        with os.fdopen(slave, "w", encoding="utf-8") as out, os.fdopen(master, "rb") as seen:
            text = b""
            with screen(out) as shown:
                for moment in moments:
                    if isinstance(moment, str):
                        shown.note(moment)
                    else:
                        shown.show(moment)
            out.flush()
            os.set_blocking(master, False)
            while chunk := seen.read():
                text += chunk
        return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", text.decode())

    return show_all


def test_a_plain_line() -> None:
    """Outside a terminal, a moment is one line with all the data."""
    out = StringIO()
    with screen(out) as shown:
        shown.show(MOMENT)
    assert out.getvalue() == (
        "  4 s  demand  5.4 GPUs  utilization    90 % of 70 %  replicas 6/8 ready    "
        "source exporters 6/6     gpu_utilization is 90, above the target of 70\n"
    )


def test_a_missing_value_is_not_shown_as_zero() -> None:
    """Without a value, the line says so."""
    out = StringIO()
    with screen(out) as shown:
        shown.show(UNKNOWN)
    assert "utilization unknown of 70 %" in out.getvalue()
    assert "source error             it cannot be had" in out.getvalue()


def test_the_standard_output_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    """The current standard output, not the one at import."""
    with screen() as shown:
        shown.show(MOMENT)
    assert capsys.readouterr().out.count("\n") == 1


def test_a_table_in_a_terminal(terminal: Terminal) -> None:
    """In 80 columns no cell is cut, and the HPA's reason is below the rows."""
    widest = structs.replace(MOMENT, source="last-known", pods="12/12", ready=12, replicas=12)
    text = terminal([widest, MOMENT])
    last = text[text.rindex("GPU utilization scales") :]
    assert "only the server is real" in last
    assert re.search(r"TIME +DEMAND +UTIL +│ TARGET 70 % +REPLICAS +SOURCE, PODS", last)
    for cells in ("12/12 ready +last-known 12/12", "6/8 ready +exporters 6/6"):
        assert re.search(rf"4 s +5\.4 GPUs +90 % +█+│█+·· +{cells}", last)
    assert "HPA: gpu_utilization is 90, above the target of 70" in last
    assert "…" not in text


def test_the_last_moments_are_in_sight(terminal: Terminal) -> None:
    """The table never exceeds the terminal: the oldest rows go."""
    text = terminal(structs.replace(MOMENT, seconds=seconds) for seconds in range(100))
    last = text[text.rindex("GPU utilization scales") :]
    assert " 99 s " in last
    assert "HPA: " in last
    assert " 80 s " not in last
    assert last.count("\n") < 24


def test_the_bar_is_empty_where_there_is_no_value(terminal: Terminal) -> None:
    """A missing value has no bar."""
    assert re.search(r"unknown +·{11}│·{5} +6/8 ready +error", terminal([UNKNOWN]))


def test_a_terminal_that_cannot_move_has_plain_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dumb terminal gets one line per moment."""
    monkeypatch.setenv("TERM", "dumb")
    assert terminal([MOMENT]).startswith("  4 s  demand  5.4 GPUs")


def test_a_note_stays_above_the_table(terminal: Terminal) -> None:
    """However many moments follow, and without interpreting markup."""
    text = terminal(["20 s  fault begins: [down]", *[MOMENT] * 30])
    note, table = text.split("GPU utilization scales")[0], text[text.rindex("GPU utilization") :]
    assert "20 s  fault begins: [down]" in note
    assert "fault begins" not in table


def test_a_note_is_a_line_elsewhere() -> None:
    """Unchanged."""
    out = StringIO()
    with screen(out) as shown:
        shown.note("20 s  fault begins: [down]")
    assert out.getvalue() == "20 s  fault begins: [down]\n"


def test_without_rich_there_are_plain_lines() -> None:
    """Without the extra "demo", a terminal has plain lines too."""
    program = """
import sys
sys.modules["rich"] = None
import os, pty
from metrics_server.simulator.demo.moments import UtilizationMoment
from metrics_server.simulator.demo.screen import screen
master, slave = pty.openpty()
with screen(os.fdopen(slave, "w")) as shown:
    shown.show(UtilizationMoment(1, 100, 50, 70, 2, 2, "exporters", "2/2", "it stays"))
print(os.read(master, 9999).decode())
"""
    done = subprocess.run(  # noqa: S603 - the test's own program
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.startswith("  1 s  demand  1.0 GPUs")


def test_the_line_of_a_queue() -> None:
    """Load, GPU utilization, both queues, replicas, and the HPA's reason."""
    out = StringIO()
    with screen(out) as shown:
        shown.show(QUEUE)
        shown.show(ASLEEP)
        shown.show(structs.replace(QUEUE, waiting=None, held=None, source="error"))
    assert out.getvalue() == (
        " 42 s  load 16.8/s  GPU utilization   100 %  waiting     3.5 of 2  at the gateway      12"
        "  replicas  1/12 ready  llm_requests_waiting averages 3.5\n"
        " 42 s  load 16.8/s  GPU utilization  no pod  waiting  no pod of 2  at the gateway      12"
        "  replicas   0/0 ready  it sleeps\n"
        " 42 s  load 16.8/s  GPU utilization   100 %  waiting unknown of 2  at the gateway unknown"
        "  replicas  1/12 ready  llm_requests_waiting averages 3.5\n"
    )


def test_the_table_of_a_queue(terminal: Terminal) -> None:
    """In 80 columns no cell is cut; the target is at a quarter of the bar."""
    full = structs.replace(QUEUE, waiting=250.25, held=1000, ready=12)
    text = terminal([QUEUE, ASLEEP, full])
    last = text[text.rindex("The queue scales") :]
    assert re.search(r"TIME +LOAD +GPU UTIL +WAITING +│ TARGET 2 +GATEWAY +READY", last)
    assert re.search(r"42 s +16\.8/s +100 % +3\.5 +█{4}│█{3}·{9} +12 +1/12 ", last)
    assert re.search(r"42 s +16\.8/s +no pod +no pod +·{4}│·{12} +12 +0/0 ", last)
    assert re.search(r"42 s +16\.8/s +100 % +250\.2 +█{4}│█{12} +1000 +12/12 ", last)
    assert "HPA: llm_requests_waiting averages 3.5" in last
    assert "…" not in text
