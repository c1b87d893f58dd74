"""Outcomes as a table in a terminal, as plain text elsewhere, or as JSON."""

import json
from collections.abc import Iterator, Sequence
from textwrap import indent
from typing import Literal, TextIO

import msgspec

from metrics_server.common.text import counted, printable
from metrics_server.doctor.model import Outcome, Status

try:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
except ImportError:  # without the extra "demo", plain text is printed
    Console = None  # type: ignore[assignment,misc]  # checked below

Form = Literal["table", "text", "json"]

_WORDS: dict[Status, str] = {
    "ok": "ok",
    "problem": "PROBLEM",
    "note": "note",
    "skipped": "not run",
}
_STYLES: dict[Status, str] = {
    "ok": "green",
    "problem": "bold red",
    "note": "yellow",
    "skipped": "dim",
}
_MOST = 1000


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """Return 0 if nothing is wrong, 1 if something is; 2 if no check could run."""
    statuses = {one.status for one in outcomes}
    if "problem" in statuses:
        return 1
    return 2 if statuses == {"skipped"} else 0


def write(outcomes: Sequence[Outcome], out: TextIO, form: Form) -> None:
    """Write outcomes.

    Args:
        outcomes: in order.
        out: where to.
        form: "table" becomes "text" where `out` is not a terminal.
    """
    if form == "json":
        out.write(as_json(outcomes))
    elif form == "table" and Console is not None and out.isatty():
        _write_table(outcomes, out)
    else:
        out.write(as_text(outcomes))


def as_json(outcomes: Sequence[Outcome]) -> str:
    """Return outcomes as a JSON document."""
    document = {
        "status": exit_status(outcomes),
        "checks": msgspec.to_builtins(outcomes),
    }
    return json.dumps(document, indent=2) + "\n"


def as_text(outcomes: Sequence[Outcome]) -> str:
    """Return outcomes as plain text: a line for each check, then what is wrong."""
    width = max((len(one.check) for one in outcomes), default=0)
    lines = [
        f"{_WORDS[one.status]:<8} {one.check:<{width}}  {printable(one.summary, _MOST)}"
        for one in outcomes
    ]
    return "\n".join([*lines, "", *_details(outcomes), summary(outcomes), ""])


def _details(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for one in outcomes:
        for problem in one.problems:
            yield f"PROBLEM {problem.name}: {printable(problem.about, _MOST)}"
            yield indent(printable(problem.message, _MOST), "  ")
            yield "  fix:"
            yield indent(_lines(problem.fix), "    ")
            yield f"  see: {problem.see}"
            yield ""
        for note in one.notes:
            yield f"note {one.check}: {printable(note, _MOST)}"
            yield ""


def _lines(text: str) -> str:
    """Return a text of several lines without anything that a terminal would interpret."""
    return "\n".join(printable(line, _MOST) for line in text.splitlines())


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return the last line: how many problems there are, and what did not run."""
    problems = sum(len(one.problems) for one in outcomes)
    skipped = [one.check for one in outcomes if one.status == "skipped"]
    found = "no problem" if not problems else counted(problems, "problem")
    not_run = f"; not run: {', '.join(skipped)}" if skipped else ""
    return f"{found} found by {len(outcomes) - len(skipped)} checks{not_run}"


def _write_table(outcomes: Sequence[Outcome], out: TextIO) -> None:
    console = Console(file=out, highlight=False)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    table.add_column("CHECK", no_wrap=True)
    table.add_column("FOUND")
    for one in outcomes:
        status = Text(_WORDS[one.status], style=_STYLES[one.status])
        table.add_row(status, one.check, Text(printable(one.summary, _MOST)))
    console.print(table)
    for line in _details(outcomes):
        head = line.startswith("PROBLEM")
        console.print(Text(line, style="bold" if head else ""), soft_wrap=True)
    style = _STYLES["problem" if exit_status(outcomes) else "ok"]
    console.print(Text(summary(outcomes), style=style))
