"""What the server itself reports about its health: the checks of /readyz, by name."""

import re
from collections.abc import Sequence
from http import HTTPStatus

from metrics_server.common.text import counted, printable
from metrics_server.doctor.api import proxied
from metrics_server.doctor.model import Check, Problem, Verdict, skipped
from metrics_server.doctor.reader import Reader
from metrics_server.kube.answers import Fetched, status_message

NAMES = (
    "pods-synced",
    "endpointslices-synced",
    "trust-synced",
    "pods-current",
    "endpointslices-current",
    "watch-pods",
    "watch-endpointslices",
    "watch-trust",
    "certificate",
    "ca-bundle",
    "shutdown",
)
"""The checks of /readyz that a server always has."""

_LINE = re.compile(r"\[([+-])\]([a-z0-9.-]+) (failed|ok, but): (.*)")
_MOST = 3


async def _run(reader: Reader) -> Verdict:
    installation = await reader.installation()
    pods = [one for one in await reader.server_pods() if one.status.phase == "Running"]
    answers: list[tuple[str, Fetched]] = []
    for pod in pods[:_MOST]:
        port = pod.https_port or installation.port
        path = proxied(installation.namespace, pod.metadata.name, "https", port, "/readyz")
        answer = await reader.api.fetch(path, {"verbose": "true"}, max_bytes=64 * 1024)
        answers.append((pod.metadata.name, answer))
    return judge(installation.namespace, answers)


def judge(namespace: str, answers: Sequence[tuple[str, Fetched]]) -> Verdict:
    """Judge the answers of /readyz?verbose.

    Args:
        namespace: of the server.
        answers: each with the name of its pod.
    """
    problems: dict[str, Problem] = {}
    asked = 0
    why = "no pod of the server is Running"
    for pod, answer in answers:
        if answer.status in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED):
            why = status_message(answer.body) or f"it answered HTTP {answer.status}"
            continue
        if message := status_message(answer.body):
            why = f"pod {pod} could not be asked: {message}"
            continue
        asked += 1
        for found in _LINE.finditer(answer.body.decode(errors="replace")):
            name, text = found[2], printable(found[4], 300)
            if name not in problems:
                problems[name] = Problem(
                    name,
                    f"pod {namespace}/{pod}",
                    f"/readyz says: {text}",
                    f"kubectl -n {namespace} logs {pod} --since=15m",
                    "docs/troubleshooting.md#the-server-is-not-ready",
                )
    if not asked:
        return skipped(f"/readyz was not read: {why}")
    failing = ", ".join(problems)
    return Verdict(
        f"/readyz of {counted(asked, 'replica')} fails in {failing}"
        if problems
        else f"/readyz of {counted(asked, 'replica')} passes",
        tuple(problems.values()),
    )


CHECK = Check(
    name="readyz",
    about="What does the server's own /readyz report?",
    finds=NAMES,
    run=_run,
)
