"""Counts against those that are recorded."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from tests.bench.counts.counting import Counts

RECORDED = Path(__file__).with_name("recorded.json")
TOLERANCE = 0.05
_MOST_FUNCTIONS = 5

Recorded = dict[str, dict[str, Counts]]
"""By the minor version of Python, and by piece of work."""


def read(path: Path = RECORDED) -> Recorded:
    """What is recorded; empty if nothing is.

    Raises:
        msgspec.DecodeError: the file has something else.
    """
    return msgspec.json.decode(path.read_bytes(), type=Recorded) if path.exists() else {}


def write(counted: Mapping[str, Counts], version: str, path: Path = RECORDED) -> None:
    """Record the counts of a version of Python, and leave those of others as they are."""
    recorded = {**read(path), version: counted}
    encoded = msgspec.json.encode(dict(sorted(recorded.items())))
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


def changed(was: Counts, now: Counts) -> str:
    """A table of the functions whose instructions changed most.

    Functions below half a percent of all instructions are not recorded, and count from 0.
    """
    changes = {
        name: now.functions.get(name, 0) - was.functions.get(name, 0)
        for name in {*was.functions, *now.functions}
    }
    most = sorted(changes, key=lambda name: (-abs(changes[name]), name))[:_MOST_FUNCTIONS]
    rows = [f"{'recorded':>12}{'now':>12}{'change':>12}  instructions of"]
    rows += [
        f"{was.functions.get(name, 0):>12,}{now.functions.get(name, 0):>12,}"
        f"{changes[name]:>+12,}  {name}"
        for name in most
        if changes[name]
    ]
    return "\n".join(rows)


def report(piece: str, was: Counts | None, now: Counts) -> str:
    """The complaints about a piece of work, with a table; empty if there are none."""
    found = [*complaints(piece, was, now)]
    if found and was is not None:
        found.append(changed(was, now))
    return "\n".join(found)
