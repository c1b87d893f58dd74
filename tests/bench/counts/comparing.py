"""Compares counts with the recorded ones."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import structs

from tests.bench.counts.counting import Counts

RECORDED = Path(__file__).with_name("recorded.json")
TOLERANCE = 0.05
_MOST_FUNCTIONS = 5
# Functions with a smaller share of the instructions are not recorded.
_LEAST_PART = 0.01

Recorded = dict[str, dict[str, Counts]]
"""By the minor version of Python, and by piece of work."""


def read(path: Path = RECORDED) -> Recorded:
    """The recorded counts; empty if none.

    Raises:
        msgspec.DecodeError: the file contains something else.
    """
    return msgspec.json.decode(path.read_bytes(), type=Recorded) if path.exists() else {}


def write(counted: Mapping[str, Counts], version: str, path: Path = RECORDED) -> None:
    """Record the counts for a version of Python.

    Counts within the tolerance stay as they are, so that small changes cannot add up unnoticed.
    """
    recorded = read(path)
    known = recorded.get(version, {})
    recorded[version] = {
        piece: _shortened(now) if report(piece, known.get(piece), now) else known[piece]
        for piece, now in counted.items()
    }
    encoded = msgspec.json.encode(dict(sorted(recorded.items(), key=lambda item: _parts(item[0]))))
    path.write_bytes(msgspec.json.format(encoded, indent=1) + b"\n")


def complaints(piece: str, was: Counts | None, now: Counts) -> Iterator[str]:
    """What differs by more than the tolerance, each with the functions that changed most."""
    if was is None:
        yield f"{piece}: nothing is recorded: `make counts ARGS=--write` records it"
        return
    for name, count in now.figures.items():
        before = was.figures[name]
        change = f"{piece}: {count:,} {name}, {before:,} recorded ({count / before - 1:+.1%})"
        if count > before * (1 + TOLERANCE):
            yield f"{change}. Make it cheaper, or record it: `make counts ARGS=--write`"
        elif count < before * (1 - TOLERANCE):
            yield f"{change}. Record it, so that it stays: `make counts ARGS=--write`"


def _shortened(counts: Counts) -> Counts:
    functions = counts.functions.items()
    least = _least(counts)
    return structs.replace(counts, functions={name: n for name, n in functions if n >= least})


def _least(counts: Counts) -> int:
    """The fewest instructions that get a function recorded."""
    return math.ceil(counts.instructions * _LEAST_PART)


def changed(was: Counts, now: Counts) -> str:
    """A table of the functions whose instructions changed most.

    An unrecorded function may have had as many as that takes.
    """
    least = _least(was)
    changes = {
        name: count - was.functions.get(name, min(count, least))
        for name, count in {**dict.fromkeys(was.functions, 0), **now.functions}.items()
    }
    most = sorted(changes, key=lambda name: (-abs(changes[name]), name))[:_MOST_FUNCTIONS]
    rows = [f"{'recorded':>12}{'now':>12}{'change':>12}  instructions of"]
    rows += [
        f"{_recorded(was, name):>12}{now.functions.get(name, 0):>12,}{changes[name]:>+12,}  {name}"
        for name in most
        if changes[name]
    ]
    return "\n".join(rows)


def _recorded(was: Counts, name: str) -> str:
    return f"{was.functions[name]:,}" if name in was.functions else f"< {_least(was):,}"


def markdown(recorded: Recorded) -> str:
    """The counts recorded for the oldest version of Python, as a table."""
    version, pieces = min(recorded.items(), key=lambda item: _parts(item[0]))
    rows = [
        f"| Python {version} | calls | C calls | instructions | KiB at the peak |",
        "|---|---|---|---|---|",
    ]
    for piece, counts in pieces.items():
        peak = "" if counts.peak_bytes is None else f"{counts.peak_bytes / 1024:,.0f}"
        figures = (f"{n:,}" for n in (counts.calls, counts.c_calls, counts.instructions))
        rows.append(f"| {' | '.join([piece, *figures, peak])} |")
    return "\n".join(rows)


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def report(piece: str, was: Counts | None, now: Counts) -> str:
    """The complaints about a piece of work, with a table; empty if there are none."""
    found = [*complaints(piece, was, now)]
    if found and was is not None:
        found.append(changed(was, now))
    return "\n".join(found)
