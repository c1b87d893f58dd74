"""Which cluster is examined, and commands that are suggested for the same cluster (pure)."""

import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from msgspec import Struct, structs

from metrics_server.doctor.model import Outcome

_COMMAND = re.compile(
    r"(?:^|(?<= && ))(kubectl|helm|gpu-metrics-server (?:ask|doctor|top))\b", re.MULTILINE
)


class Aim(Struct, frozen=True):
    """Which cluster.

    Attributes:
        kubeconfig: the file that was named; None if none was.
        context: the context in it that was named; "" if none was.
    """

    kubeconfig: Path | None = None
    context: str = ""

    def flags(self, command: str) -> str:
        """Return the flags by which a command reaches this cluster, each after a space."""
        text = ""
        if self.kubeconfig is not None:
            text += f" --kubeconfig {quote(str(self.kubeconfig))}"
        if self.context:
            name = "--kube-context" if command == "helm" else "--context"
            text += f" {name} {quote(self.context)}"
        return text


def aimed(commands: str, aim: Aim) -> str:
    """Return commands with the flags that name a cluster.

    Without them they would run against the current context, which may be another cluster.

    Args:
        commands: one a line.
        aim: which cluster.
    """
    return _COMMAND.sub(lambda found: f"{found[0]}{aim.flags(found[1])}", commands)


def all_aimed(outcomes: Sequence[Outcome], aim: Aim) -> Sequence[Outcome]:
    """Return outcomes whose fixes name the cluster."""
    return [
        structs.replace(
            one,
            problems=tuple([structs.replace(p, fix=aimed(p.fix, aim)) for p in one.problems]),
        )
        for one in outcomes
    ]
