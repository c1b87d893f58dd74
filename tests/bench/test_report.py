"""The table, the JSON and the document of a run."""

import io
import os
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from tests.bench import Figure
from tests.bench.machine import Machine, this_machine
from tests.bench.report import Row, Run, markdown, print_table, read_json, significant, write_json

MACHINE = Machine(
    cpu="A Processor [fast]",
    cores=2,
    python="3.11.2",
    openssl="OpenSSL 3.5.4",
    python_openssl="OpenSSL 3.0.17",
    load=0.25,
    measured="2026-11-26 09:42 UTC",
)
RUN = Run(
    MACHINE,
    [
        Row("warm", Figure("throughput", 61.23, "%", against="a bare handler", at_least=70)),
        Row("warm", Figure("p99", 1.4, "times", against="a bare handler", at_most=1.5)),
        Row("scale", Figure("memory", 1398, "MiB")),
    ],
    {"prometheus": "Prometheus is not installed"},
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.03456, "0.0346"),
        (1.4, "1.40"),
        (61.23, "61.2"),
        (100, "100"),
        (4040.4, "4,040"),
        (150_000, "150,000"),
        (float("inf"), "inf"),
    ],
)
def test_a_number_has_three_significant_digits(value: float, text: str) -> None:
    """Or all of those before the point."""
    assert significant(value) == text


def test_the_document_gets_the_machine_and_one_row_a_figure() -> None:
    """Skipped scenarios are listed below, with the reason."""
    assert markdown(RUN).splitlines() == [
        f"{MACHINE}.",
        "",
        "| scenario | figure | measured | against | target |",
        "|---|---|---|---|---|",
        "| warm | throughput | 61.2 % | a bare handler | ≥ 70 %: missed |",
        "| warm | p99 | 1.40 times | a bare handler | ≤ 1.5 times |",
        "| scale | memory | 1,398 MiB |  |  |",
        "",
        "prometheus: skipped: Prometheus is not installed",
    ]


def test_the_terminal_gets_one_table() -> None:
    """Below the machine, whose name is not parsed as markup."""
    output = io.StringIO()

    print_table(RUN, Console(file=output))

    text = output.getvalue()
    assert text.count("scenario") == 1
    for part in ("A Processor [fast]", "≥ 70 %: missed", "1,398 MiB", "prometheus: skipped"):
        assert part in text


def test_a_run_survives_its_file(tmp_path: Path) -> None:
    """Other programs find the complete run in it."""
    write_json(RUN, tmp_path / "bench.json")

    assert read_json(tmp_path / "bench.json") == RUN


def test_a_machine_as_a_sentence() -> None:
    """It is printed above the table."""
    assert str(MACHINE) == (
        "A Processor [fast], 2 cores; Python 3.11.2; OpenSSL 3.5.4 (Python's own: OpenSSL "
        "3.0.17); load at the start 0.2; 2026-11-26 09:42 UTC"
    )


def test_a_machine_is_named_by_what_figures_depend_on() -> None:
    """The line above the table has all of it."""
    machine = this_machine()

    assert machine.cores == len(os.sched_getaffinity(0))
    assert msgspec.json.decode(msgspec.json.encode(machine), type=Machine) == machine
    for part in (machine.cpu, machine.python, machine.openssl, machine.python_openssl):
        assert part
        assert part in str(machine)
