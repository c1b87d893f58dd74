"""The table of faults: each with the doctor's name for it, and how to cause it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct

from metrics_server.simulator import manifests
from tests.doctor.scene import Scene

Break = Callable[[Scene], Awaitable[None]]


class Fault(Struct, frozen=True):
    """A fault.

    Attributes:
        title: what is broken.
        name: the doctor's name for it.
        breaks: causes it.
        fix: part of the command that fixes it, or that shows what to fix.
        flags: for the doctor.
        others: the problems that follow from it.
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
    """Add a fault to the table; its title is the function's docstring.

    Without flags, the doctor starts from the HPA, so that it sees every consequence.
    """

    def add(breaks: Break) -> Break:
        title = (breaks.__doc__ or "").split("\n")[0]
        FAULTS.append(Fault(title, name, breaks, fix, flags or HPA, others))
        return breaks

    return add
