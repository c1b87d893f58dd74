"""Checks and their findings, as values (pure).

A check is a file in `doctor/checks/`: a thin reader, which gets values from the cluster, and a pure
judgement, which turns them into a `Verdict`. The runner runs the reader; tests of a judgement need
no cluster.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, structs

if TYPE_CHECKING:
    from metrics_server.doctor.reader import Reader

Scope = Literal["cluster", "workload", "hpa"]
"""When a check runs: always, with a selector of pods, or with the name of an HPA."""

Status = Literal["ok", "problem", "note", "skipped"]

TROUBLESHOOTING = "docs/troubleshooting.md"


class Problem(Struct, frozen=True):
    """Something that is wrong.

    Attributes:
        name: what, as one word. It is the name of a health check, of an error's reason or of a
            Warning event where it means the same.
        about: the object, such as "node gpu-1".
        message: what is wrong, and what follows from it.
        fix: the command that fixes it, or that shows what to fix; further lines are comments or
            more commands.
        see: where the documentation explains it.
        objects: what it concerns, as kind/name, such as "node/gpu-1"; empty if everything.
        alone: whether it is known to follow from nothing else.
        quoted: how others report the same, apart from the message: the server's own words.
        follows: the names of the problems that it follows from; filled in by `doctor.causes`.
    """

    name: str
    about: str
    message: str
    fix: str
    see: str = TROUBLESHOOTING
    objects: tuple[str, ...] = ()
    alone: bool = False
    quoted: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()


def objects(kind: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return what a problem concerns.

    Args:
        kind: of the objects, such as "node".
        names: of the objects.
    """
    return tuple(f"{kind}/{name}" for name in names)


class Verdict(Struct, frozen=True):
    """The findings of a check.

    Attributes:
        summary: one line: what was examined, and how it is.
        problems: what is wrong.
        notes: what may explain something, but is not wrong.
        skipped: why the check could not run; "" if it could.
    """

    summary: str
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: str = ""


def skipped(why: str) -> Verdict:
    """Return the verdict of a check that could not run."""
    return Verdict("", skipped=why)


class Outcome(Struct, frozen=True):
    """A check's verdict, with its name and how long it took.

    Attributes:
        check: the check's name.
        status: the worst that it found.
        summary: as in the verdict, or why it could not run.
        problems: as in the verdict, merged.
        notes: as in the verdict.
        seconds: how long it took.
    """

    check: str
    status: Status
    summary: str
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0


class Check(Struct, frozen=True):
    """A check.

    Attributes:
        name: its name.
        about: the question that it answers, as a line of documentation.
        finds: the names of the problems that it can find.
        run: reads and judges. A KubernetesError or a RequestError means that it could not run.
        scope: when it runs.
    """

    name: str
    about: str
    finds: Sequence[str]
    run: "Callable[[Reader], Awaitable[Verdict]]"
    scope: Scope = "cluster"


def merged(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return problems, with those that differ only in what they concern as one."""
    found: dict[tuple[str, str, str], Problem] = {}
    for one in problems:
        key = one.name, one.message, one.fix
        found[key] = _joined(found[key], one) if key in found else one
    return tuple(found.values())


def _joined(one: Problem, other: Problem) -> Problem:
    about, concerned = f"{one.about}, {other.about}", one.objects + other.objects
    return structs.replace(one, about=about, objects=concerned)


def outcome_of(name: str, verdict: Verdict, seconds: float = 0) -> Outcome:
    """Return the outcome of a check that has run, or has said why it could not."""
    status: Status = "ok"
    if verdict.skipped:
        status = "skipped"
    elif verdict.problems:
        status = "problem"
    elif verdict.notes:
        status = "note"
    return Outcome(
        name,
        status,
        verdict.skipped or verdict.summary,
        merged(verdict.problems),
        verdict.notes,
        seconds,
    )
