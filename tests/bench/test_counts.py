"""Counts repeat, differences are noticed, and fixed work costs what is recorded."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from metrics_server.kube.pods import Pod
from metrics_server.measuring import selection
from tests.bench.counts.__main__ import main
from tests.bench.counts.comparing import Recorded, read, report, write
from tests.bench.counts.counting import Counts, count
from tests.bench.counts.pure import list_pods, parse_page, select_pods
from tests.bench.counts.registry import PURE, SERVED

ROOT = Path(__file__).parents[2]
NOTHING_RECORDED = 3


def counts(instructions: int = 1000, **functions: int) -> Counts:
    """Counts with these instructions, and a hundredth of everything else."""
    return Counts(
        calls=100, c_calls=100, instructions=instructions, peak_bytes=None, functions=functions
    )


@pytest.mark.slow
def test_fixed_work_takes_what_is_recorded() -> None:
    """Within 5 % either way: `make counts ARGS=--write` records an improvement.

    In a separate process, without the tests' tracing and their guard against blocking.
    """
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    run = subprocess.run(
        [sys.executable, "-m", "tests.bench.counts"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    if run.returncode == NOTHING_RECORDED:
        pytest.skip(run.stdout.splitlines()[-1])
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_piece_is_recorded_for_the_same_versions() -> None:
    """A missing piece would not be compared."""
    recorded = read()

    assert recorded
    for pieces in recorded.values():
        assert list(pieces) == [*PURE, *SERVED]


@pytest.mark.slow
@pytest.mark.parametrize("make", [parse_page, select_pods, list_pods])
def test_counts_repeat(make: Callable[[], Callable[[], object]]) -> None:
    """Isolated work takes exactly the same each time."""
    first, second = (count(make(), alone=True) for _ in range(2))

    assert first.instructions > 1000
    assert first.calls > 100
    assert first.c_calls > 100
    assert structure(first) == structure(second)
    assert first.peak_bytes == pytest.approx(second.peak_bytes, rel=0.02)


def structure(counted: Counts) -> Counts:
    """The counts except memory."""
    return msgspec.structs.replace(counted, peak_bytes=None)


def test_more_work_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra call per pod is reported with the function that makes it."""
    before = count(select_pods(), alone=True)
    is_ready = selection._is_ready

    def checked_twice(pod: Pod) -> bool:
        return is_ready(pod) and is_ready(pod)

    monkeypatch.setattr(selection, "_is_ready", checked_twice)

    found = report("select", before, count(select_pods(), alone=True))

    assert f"calls, {before.calls:,} recorded (+" in found
    assert "instructions, " in found
    assert "checked_twice" in found.splitlines()[-2] + found.splitlines()[-1]


def test_what_a_function_in_c_is_called_for_is_counted() -> None:
    """Even though it executes no bytecode."""

    def work() -> None:
        for _ in range(100):
            len(())

    def more() -> None:
        work()
        work()

    assert count(work, alone=True).c_calls >= 100
    assert count(more, alone=True).c_calls >= 200


def test_memory_is_that_of_the_peak() -> None:
    """Memory that is freed before the end counts too."""
    assert (count(lambda: len(bytes(1_000_000)), alone=True).peak_bytes or 0) >= 1_000_000


@pytest.mark.parametrize("instructions", [950, 1000, 1050])
def test_five_percent_are_no_difference(instructions: int) -> None:
    """A patch release of a dependency may cost this much."""
    assert report("work", counts(), counts(instructions)) == ""


def test_growth_is_reported_with_what_grew_most() -> None:
    """In order of the change, and five functions at most."""
    was = counts(1000, same=400, much=200, some=100, a=10, b=10, gone=20)
    now = counts(1600, same=400, much=600, some=150, a=12, b=11, new=45)

    head, columns, *rows = report("work", was, now).splitlines()

    assert head == (
        "work: 1,600 instructions, 1,000 recorded (+60.0%). "
        "Make it cheaper, or record it: `make counts ARGS=--write`"
    )
    assert columns.split() == ["recorded", "now", "change", "instructions", "of"]
    assert [row.split() for row in rows] == [
        ["200", "600", "+400", "much"],
        ["100", "150", "+50", "some"],
        ["<", "10", "45", "+35", "new"],
        ["20", "0", "-20", "gone"],
        ["10", "12", "+2", "a"],
    ]


def test_improvement_is_to_be_recorded() -> None:
    """Or the next change could lose it unnoticed."""
    found = report("work", counts(), counts(900))

    assert "(-10.0%). Record it, so that it stays" in found


def test_new_work_is_to_be_recorded() -> None:
    """There is nothing to compare it with."""
    assert report("work", None, counts()) == (
        "work: nothing is recorded: `make counts ARGS=--write` records it"
    )


def test_small_functions_are_not_recorded(tmp_path: Path) -> None:
    """One percent of all instructions is enough to find a 5 % increase."""
    write({"work": counts(1000, large=10, small=9)}, "3.11", tmp_path / "recorded.json")

    assert read(tmp_path / "recorded.json")["3.11"]["work"].functions == {"large": 10}


def test_small_changes_do_not_add_up(tmp_path: Path) -> None:
    """Recording keeps counts within the tolerance."""
    file = tmp_path / "recorded.json"
    for one, other in ((1000, 1000), (1040, 900), (1080, 900)):
        write({"one": counts(one), "other": counts(other)}, "3.11", file)

    assert [piece.instructions for piece in read(file)["3.11"].values()] == [1080, 900]

    write({"one": counts(1100), "other": counts(901)}, "3.11", file)

    assert [piece.instructions for piece in read(file)["3.11"].values()] == [1080, 900]


def test_recording_leaves_other_versions_as_they_are(tmp_path: Path) -> None:
    """Each version of Python executes different instructions."""
    file = tmp_path / "recorded.json"
    assert read(file) == {}

    write({"work": counts(1)}, "3.12", file)
    write({"work": counts(2)}, "3.11", file)
    write({"work": counts(3)}, "3.12", file)

    recorded: Recorded = {"3.11": {"work": counts(2)}, "3.12": {"work": counts(3)}}
    assert read(file) == recorded
    assert file.read_text().index("3.11") < file.read_text().index("3.12")


def test_the_command_compares_and_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails if nothing is recorded, and if a count has changed."""
    counted = {"work": counts(1000, much=500)}
    monkeypatch.setattr("tests.bench.counts.__main__.count_all", lambda _: counted.items())
    file = tmp_path / "recorded.json"
    command = ["--recorded", str(file)]

    assert main(command) == NOTHING_RECORDED
    assert main([*command, "--write"]) == 0
    assert main(command) == 0
    capsys.readouterr()
    counted["work"] = counts(1100, much=600)

    assert main(command) == 1
    printed = capsys.readouterr().out
    assert "work: 1,100 instructions, 1,000 recorded (+10.0%)" in printed
    assert printed.rstrip().endswith("+100  much")
