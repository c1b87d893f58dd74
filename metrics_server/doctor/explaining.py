"""The answers that an HPA would get, in words (pure)."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from shlex import quote

import msgspec
from msgspec import Struct

from metrics_server.common.text import printable
from metrics_server.doctor.aiming import Aim, aimed
from metrics_server.doctor.asking import REPLACEMENTS, Answered, Asked
from metrics_server.kube.pods import Pod

_NOT_FOUND = 404
_MAX_SELECTOR = 8192
_UNSERVED = "could not find the requested resource"


class Explained(Struct, frozen=True):
    """A question, its answer, and the pods that it is about.

    Attributes:
        asked: the question.
        answered: the answer.
        pods: the pods that the selector matches; None if they may not be listed.
    """

    asked: Asked
    answered: Answered
    pods: tuple[Pod, ...] | None = None

    @property
    def has_value(self) -> bool:
        """Whether the HPA gets a number."""
        return bool(self.answered.items)

    @property
    def without_value(self) -> Sequence[Pod]:
        """The pods that a Pods metric has no item for."""
        if self.asked.type != "Pods" or self.pods is None:
            return ()
        covered = {item.pod for item in self.answered.items}
        return [pod for pod in self.pods if pod.name not in covered]


def as_text(explained: Sequence[Explained], hpa: str = "", aim: Aim | None = None) -> str:
    """Return questions and answers as plain text.

    Args:
        explained: the questions.
        hpa: the name of the HPA that asks them; "" without one.
        aim: which cluster; None for that of the current context.
    """

    def body(one: Explained) -> Iterator[str]:
        yield from _answer(one)
        is_replaced = one.answered.source in REPLACEMENTS
        # A terminating pod has no value by design.
        gaps = any(not pod.terminating for pod in one.without_value)
        if is_replaced or not one.has_value or gaps:
            command = f"gpu-metrics-server doctor {_flags(one.asked, hpa)}"
            yield f"  to find out why: {aimed(command, aim or Aim())}"

    alike: dict[tuple[str, str], list[Explained]] = defaultdict(list)
    for one in explained:
        alike[_about(one.asked), _gist(one)].append(one)
    return "\n".join(
        f"{' and '.join(dict.fromkeys(one.asked.type for one in those))} metric {about}\n"
        + "".join(f"{line}\n" for line in body(those[0]))
        for (about, _), those in alike.items()
    )


def _gist(one: Explained) -> str:
    """Return what questions must have in common to be printed once: the error of both APIs.

    After its first clause they may give different advice.
    """
    return one.answered.error.partition(": ")[0] or one.asked.type


def _about(asked: Asked) -> str:
    selector = (
        ""
        if asked.selector is None
        else f', selector "{printable(asked.selectors, _MAX_SELECTOR)}"'
    )
    return f"{printable(asked.metric, 80)} in namespace {asked.namespace}{selector}"


def _answer(one: Explained) -> Iterator[str]:
    asked, answered = one.asked, one.answered
    if asked.unknown:
        yield f"  not asked: {printable(asked.unknown, 700)}"
    elif answered.error:
        yield f"  no value (HTTP {answered.status}): {_why(answered)}"
    elif not answered.items:
        yield "  no value: the answer is an empty list, so another server answers"
    elif asked.type == "Pods":
        yield from _table(one)
    else:
        for item in answered.items:
            labels = ", ".join(
                f"{printable(name, 60)} {printable(value, 60)}"
                for name, value in item.metric_labels.items()
            )
            value, at = printable(item.value, 60), printable(item.timestamp, 60)
            yield f"  {value}{f'   ({labels})' if labels else ''}, measured {at}"


def _why(answered: Answered) -> str:
    if answered.status == _NOT_FOUND and _UNSERVED in answered.error:
        return "this API is not registered in the cluster: kubectl get apiservices"
    return answered.error


def _flags(asked: Asked, hpa: str) -> str:
    if hpa:
        return f"--namespace {asked.namespace} --hpa {quote(printable(hpa, 80))}"
    flags = f"--namespace {asked.namespace} --metric {quote(printable(asked.metric, 80))}"
    if asked.selector is None:
        return flags
    return f"{flags} --selector {quote(printable(asked.selectors, _MAX_SELECTOR))}"


def _table(one: Explained) -> Iterator[str]:
    rows = [(item.pod, item.value, item.timestamp) for item in one.answered.items]
    rows += [(pod.name, "none", _state(pod)) for pod in one.without_value]
    shown = [("POD", "VALUE", "MEASURED"), *(tuple(map(printable, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        yield "  " + "  ".join(map(str.ljust, row, widths)).rstrip()


def _state(pod: Pod) -> str:
    if pod.terminating:
        return "terminating"
    if pod.phase != "Running":
        return pod.phase
    if not pod.ready:
        return "not Ready"
    return "Ready" if pod.gpus else "Ready, without a GPU"


def as_json(explained: Sequence[Explained]) -> str:
    """Return questions and answers as JSON."""
    return json.dumps(list(map(_document, explained)), indent=2) + "\n"


def _document(one: Explained) -> dict[str, object]:
    asked = one.asked
    return {
        "metric": asked.metric,
        "type": asked.type,
        "namespace": asked.namespace,
        "selector": None if asked.selector is None else asked.selectors,
        "request": asked.path,
        "error": asked.unknown or one.answered.error,
        "items": msgspec.to_builtins(one.answered.items),
        "podsWithoutValue": [pod.name for pod in one.without_value],
    }
