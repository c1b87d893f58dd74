"""Which series an expression in PromQL reads, as far as its selectors show it."""

import re
from collections.abc import Iterator

from metrics_server.sources.prometheus.promql import quoted
from metrics_server.sources.prometheus.selectors import any_of

SELECTOR = "gpu_metrics_server_selector"
"""The label with the number of a selector, in the result of `newest`."""

# Of an expression; more than one that a person writes has.
_MAX_SELECTORS = 10
_STRING = r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`"""
_TOKEN = re.compile(
    rf"(?:{_STRING})|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)?\s*"
    rf"(?P<matchers>\{{(?:{_STRING}|[^\"'`{{}}])*\}})|[a-zA-Z0-9_:]+|.",
    re.DOTALL,
)
# What can come before a selector without a name.
_KEYWORDS = frozenset(
    [
        "and",
        "or",
        "unless",
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "bool",
        "offset",
        "atan2",
    ]
)


def selectors(expression: str) -> tuple[str, ...]:
    """Return the different selectors with braces in a valid expression, in its order.

    A name without braces is not distinguished from that of a label or a function, and is left out.
    """
    return tuple(dict.fromkeys(_found(expression)))[:_MAX_SELECTORS]


def newest(expression: str, label: str | None) -> str:
    """Return a query for the times of the newest sample of each selector; "" if there is none.

    Args:
        expression: what is to be evaluated.
        label: the label with the name of the pod, to query the newest of each pod; or None.
    """
    by = "" if label is None else f" by ({label})"
    return any_of(
        f'label_replace(max{by} (timestamp({one})),"{SELECTOR}",{quoted(str(number))},"","")'
        for number, one in enumerate(selectors(expression))
    )


def _found(expression: str) -> Iterator[str]:
    for token in _TOKEN.finditer(expression):
        if token["matchers"] is not None:
            name = token["name"] or ""
            yield token["matchers"] if name.lower() in _KEYWORDS else name + token["matchers"]
