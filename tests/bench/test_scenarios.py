"""Every scenario runs to its end at its reduced size, and the command line selects it."""

import math
import multiprocessing
import shutil
from pathlib import Path

import pytest

from tests.bench import Figure, SkippedError
from tests.bench.__main__ import main
from tests.bench.document import DOCUMENT
from tests.bench.registry import SCENARIOS
from tests.bench.report import read_json

_IN_PROCESS = {"parsing"}


def _one(*, reduced: bool = False) -> list[Figure]:
    return [Figure("answers", 1 + reduced, "per second")]


def _other(*, reduced: bool = False) -> list[Figure]:
    raise SkippedError("nothing is installed" if reduced else "nothing at all is installed")


def _third(*, reduced: bool = False) -> list[Figure]:
    pytest.fail(f"was not selected ({reduced=})")


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork processes from one that has imported the program, which takes a second each time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.bench.registry"])
    monkeypatch.setattr("tests.bench.CONTEXT", context)


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in _IN_PROCESS else pytest.mark.slow)
        for name in SCENARIOS
    ],
)
def test_every_scenario_measures(name: str) -> None:
    """Figures are numbers, and no two have the same name."""
    if name == "prometheus" and shutil.which("prometheus") is None:
        pytest.skip("needs Prometheus")
    figures = SCENARIOS[name](reduced=True)

    assert figures
    assert all(math.isfinite(figure.value) and figure.value >= 0 for figure in figures)
    assert len({(figure.name, figure.unit, figure.against) for figure in figures}) == len(figures)


def test_scenarios_are_selected_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are not measured; those that cannot run are reported, in the file as well."""
    monkeypatch.setattr(
        "tests.bench.__main__.SCENARIOS",
        {"one": _one, "other": _other, "third": _third},
    )
    file = tmp_path / "run.json"

    main(["one", "other", "--reduced", "--json", str(file)])

    measured = capsys.readouterr().out
    assert "2.00 per second" in measured
    assert "other: skipped: nothing is installed" in measured
    run = read_json(file)
    assert [row.scenario for row in run.rows] == ["one"]
    assert run.skipped == {"other": "nothing is installed"}
    # Print the table again, without measuring.
    main(["--read", str(file)])
    assert capsys.readouterr().out == measured


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no scenario is named 'nothing'; there are warm, cold"),
        (["--reduced", "--write-docs"], "a reduced run is not a measurement"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is measured."""
    with pytest.raises(SystemExit):
        main(arguments)

    assert message in capsys.readouterr().err


def test_the_document_gets_whole_runs_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of some scenarios would delete the rest."""
    before = DOCUMENT.read_text()
    file = tmp_path / "run.json"
    main(["parsing", "--reduced", "--json", str(file)])

    with pytest.raises(SystemExit):
        main(["--read", str(file), "--write-docs"])

    assert "this run is without warm, cold" in capsys.readouterr().err
    assert DOCUMENT.read_text() == before
