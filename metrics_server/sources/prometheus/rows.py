"""From series back to the pages that Prometheus scraped them from.

What Prometheus changes about a page's labels is undone, so that the rows are read by the same code
as those of a page: a label that the target has too was renamed to exported_LABEL, and empty labels
were dropped.
"""

import re
from collections.abc import Iterable, Mapping

from metrics_server.sources.prometheus.selectors import EXPORTED, FAMILY, NODES, REPLICAS, TARGET

Labels = Mapping[str, str]

Group = tuple[str, ...]
"""What the series of one scraped page have in common, beginning with the values of `TARGET`."""

GROUP_LABELS = (*TARGET, *NODES, *REPLICAS)

Identity = tuple[str, frozenset[tuple[str, str]]]
"""A series: the name of its family, and its labels."""

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_FAMILY_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_NOT_OF_ROWS = ("__name__", FAMILY)


def group_of(labels: Labels) -> Group:
    """Return the page that a series of an exporter is of."""
    return tuple([labels.get(name, "") for name in GROUP_LABELS])


def node_of(group: Group) -> str:
    """Return the node of a page's target, by its labels; "" if they do not say."""
    return next(filter(None, group[len(TARGET) : len(TARGET) + len(NODES)]), "")


def identity(labels: Labels) -> Identity:
    """Return what identifies a series, of a selector or of a function that keeps the family."""
    name = labels.get("__name__") or labels.get(FAMILY, "")
    own = [one for one in labels.items() if one[0] not in _NOT_OF_ROWS]
    return name, frozenset(own)


def renamed(names: Iterable[str]) -> frozenset[str]:
    """Return the labels of a page that Prometheus renamed, by the names that its series have.

    Where a series has such a label, but not its renamed form, it is the target's: the page has none
    or an empty one.
    """
    return frozenset(name.removeprefix(EXPORTED) for name in names if name.startswith(EXPORTED))


def row(name: str, labels: Labels, value: float, without: frozenset[str]) -> str:
    """Return a series as a row of its page; "" if its name is not one of the text format.

    Args:
        name: its family.
        labels: its labels in Prometheus.
        value: its value.
        without: the labels that are the target's, as `renamed` returns them.
    """
    if not _FAMILY_NAME.fullmatch(name):
        return ""
    own: dict[str, str] = {}
    for label, text in labels.items():
        if label.startswith(EXPORTED):
            own[label.removeprefix(EXPORTED)] = text
        elif label not in without and label not in _NOT_OF_ROWS:
            own.setdefault(label, text)
    # Labels with other names, which Prometheus allows since 3.0, are not on pages of exporters.
    texts = [f'{label}="{_escaped(text)}"' for label, text in own.items() if _NAME.fullmatch(label)]
    return f"{name}{{{','.join(texts)}}} {value!r}\n"


def _escaped(text: str) -> str:
    if "\\" not in text and '"' not in text and "\n" not in text:
        return text
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
