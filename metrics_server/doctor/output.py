"""Outcomes as a table in a terminal, as plain text elsewhere, or as JSON."""

import json
from collections.abc import Iterator, Sequence
from textwrap import indent
from typing import Literal, TextIO

import msgspec

from metrics_server.common.text import counted, printable
from metrics_server.doctor.causes import first_causes
from metrics_server.doctor.model import Outcome, Problem, Status
from metrics_server.doctor.referring import referring

try:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
except ImportError:  # without the extra "demo", plain text is printed
    Console = None  # type: ignore[assignment,misc]  # checked below

Form = Literal["table", "text", "json"]

_Word = Literal["ok", "PROBLEM", "follows", "note", "not run"]

_WORDS: dict[Status, _Word] = {
    "ok": "ok",
    "problem": "PROBLEM",
    "note": "note",
    "skipped": "not run",
}
_STYLES: dict[_Word, str] = {
    "ok": "green",
    "PROBLEM": "bold red",
    "follows": "yellow",
    "note": "yellow",
    "not run": "dim",
}
_MOST = 1000
# What a problem has for the doctor itself.
_INTERNAL = ("alone", "quoted")


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
        "beginWith": list(dict.fromkeys(one.name for one in first_causes(outcomes))),
        "checks": [
            {
                **msgspec.to_builtins(one),
                "problems": [_problem(problem) for problem in one.problems],
            }
            for one in outcomes
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _problem(problem: Problem) -> dict[str, object]:
    return {
        name: value for name, value in msgspec.to_builtins(problem).items() if name not in _INTERNAL
    }


def as_text(outcomes: Sequence[Outcome]) -> str:
    """Return outcomes as plain text: a line for each check, then what is wrong."""
    width = max((len(one.check) for one in outcomes), default=0)
    lines = [
        f"{_word(one):<8} {one.check:<{width}}  {printable(one.summary, _MOST)}" for one in outcomes
    ]
    return "\n".join([*lines, "", *_details(outcomes), summary(outcomes), ""])


def _word(outcome: Outcome) -> _Word:
    """Return a check's outcome as one word: whether what it found follows from something else."""
    if outcome.problems and all(one.follows for one in outcome.problems):
        return "follows"
    return _WORDS[outcome.status]


def _details(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the causes with what fixes them, then the notes, then what follows from the causes."""
    outcomes = referring(outcomes)
    for problem in first_causes(outcomes):
        yield f"PROBLEM {problem.name}: {printable(problem.about, _MOST)}"
        yield indent(_lines(problem.message), "  ")
        yield "  fix:"
        yield indent(_lines(problem.fix), "    ")
        yield f"  see: {problem.see}"
        yield ""
    for one in outcomes:
        for problem in one.problems:
            if problem.follows:
                about = f"{one.check}: {printable(problem.about, _MOST)}"
                yield f"follows from {', '.join(problem.follows)}: {about}"
                yield indent(_lines(problem.message), "  ")
                yield ""
    for one in outcomes:
        for note in one.notes:
            yield f"note {one.check}: {printable(note, _MOST)}"
            yield ""


def _lines(text: str) -> str:
    """Return a text of several lines without anything that a terminal would interpret."""
    return "\n".join(printable(line, _MOST) for line in text.splitlines())


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return the last line: how many causes there are, which to begin with, what did not run."""
    causes = first_causes(outcomes)
    others = sum(len(one.problems) for one in outcomes) - len(causes)
    skipped = [one.check for one in outcomes if one.status == "skipped"]
    found = f"{counted(len(causes), 'problem') if causes else 'no problem'} found by "
    found += counted(len(outcomes) - len(skipped), "check")
    if others:
        pronoun = "it" if len(causes) == 1 else "them"
        follow = "follows" if others == 1 else "follow"
        found += f", and {others} more that {follow} from {pronoun}"
    if others or len(causes) > 1:
        found += f"; begin with {causes[0].name}"
    return f"{found}; not run: {', '.join(skipped)}" if skipped else found


def _write_table(outcomes: Sequence[Outcome], out: TextIO) -> None:
    console = Console(file=out, highlight=False)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    table.add_column("CHECK", no_wrap=True)
    table.add_column("FOUND")
    for one in outcomes:
        word = _word(one)
        row = Text(word, style=_STYLES[word]), one.check, Text(printable(one.summary, _MOST))
        table.add_row(*row)
    console.print(table)
    for line in _details(outcomes):
        head = line.startswith("PROBLEM")
        console.print(Text(line, style="bold" if head else ""), soft_wrap=True)
    style = _STYLES["PROBLEM" if exit_status(outcomes) else "ok"]
    console.print(Text(summary(outcomes), style=style))
