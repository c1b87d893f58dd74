"""The table of faults: each with what the doctor calls it, and how to bring it about."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct

from metrics_server.simulator import manifests
from tests.doctor.scene import Scene

Break = Callable[[Scene], Awaitable[None]]


class Fault(Struct, frozen=True):
    """A fault.

    Attributes:
        title: what is broken.
        name: what the doctor calls it.
        breaks: brings it about.
        fix: a part of the command that fixes it, or that shows what to fix.
        flags: what the doctor is run with.
        others: what else it finds, which follows from this.
    """

    title: str
    name: str
    breaks: Break
    fix: str
    flags: Mapping[str, str] = {}
    others: Sequence[str] = ()


WORKLOAD = {"namespace": "default", "selector": manifests.SELECTOR}
HPA = {"namespace": "default", "hpa": manifests.APP}

FAULTS: list[Fault] = []


def fault(
    name: str, fix: str, *, others: Sequence[str] = (), **flags: str
) -> Callable[[Break], Break]:
    """Put a fault into the table; its title is the function's docstring.

    Without flags, the doctor starts from the HPA, so that it sees everything that follows.
    """

    def add(breaks: Break) -> Break:
        title = (breaks.__doc__ or "").split("\n")[0]
        FAULTS.append(Fault(title, name, breaks, fix, flags or HPA, others))
        return breaks

    return add
