"""Commands that are suggested, made to run against the cluster that was examined (pure)."""

import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from msgspec import structs

from metrics_server.doctor.model import Outcome

_COMMAND = re.compile(r"^(kubectl|helm|gpu-metrics-server (?:ask|doctor|top))\b", re.MULTILINE)


def aimed(commands: str, kubeconfig: Path | None) -> str:
    """Return commands with the flag that names a kubeconfig.

    Without it they would run against the current context, which may be another cluster.

    Args:
        commands: one a line.
        kubeconfig: the file that was named; None if none was.
    """
    if kubeconfig is None:
        return commands
    flag = f"--kubeconfig {quote(str(kubeconfig))}"
    return _COMMAND.sub(lambda found: f"{found[0]} {flag}", commands)


def all_aimed(outcomes: Sequence[Outcome], kubeconfig: Path | None) -> Sequence[Outcome]:
    """Return outcomes with each command that fixes something aimed."""
    return [
        structs.replace(
            one,
            problems=tuple(
                [structs.replace(p, fix=aimed(p.fix, kubeconfig)) for p in one.problems]
            ),
        )
        for one in outcomes
    ]
