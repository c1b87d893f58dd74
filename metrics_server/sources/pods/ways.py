"""How the pages of pods are reached: where they are, and with which access.

Credentials are only for the namespaces and metrics of their entry. The entry is part of what
identifies a page, so that one that was read with credentials never answers a question without.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from msgspec import Struct

from metrics_server.rules.model import Endpoint
from metrics_server.sources.pages.access import AccessFiles, AccessKeeper

_SETTING = "podPages.endpoints"
# For pairs of a namespace and a metric, which are known to be those of pods and of rules.
_MAX_REMEMBERED = 4096


class Way(Struct, frozen=True):
    """How pages are reached.

    Attributes:
        name: identifies it; "" for plain requests.
        endpoint: where the pages are, as far as rules and pods do not say.
        access: the TLS settings and credentials.
    """

    name: str
    endpoint: Endpoint
    access: AccessKeeper


class Entry(Struct, frozen=True):
    """Pages that are reached in their own way.

    Attributes:
        namespaces: those of the pods; empty for all.
        metrics: names of metrics, or patterns with *; a name is that of its sum too.
        endpoint: where the pages are.
        files: the TLS settings and credentials.
    """

    namespaces: frozenset[str]
    metrics: tuple[str, ...]
    endpoint: Endpoint
    files: AccessFiles

    def is_for(self, namespace: str, metric: str) -> bool:
        """Return whether it is for the pods of a namespace, when a metric is read from them."""
        if self.namespaces and namespace not in self.namespaces:
            return False
        # The sum of a metric is read where the metric is.
        names = (metric, metric.removesuffix("_sum"))
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.metrics)


class Ways:
    """The way to each page: that of the first entry that is for it, or a plain request.

    Args:
        entries: in order of precedence.
    """

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self._plain = Way("", Endpoint(), AccessKeeper(AccessFiles(setting=_SETTING)))
        self._entries = [
            (one, Way(one.files.setting, one.endpoint, AccessKeeper(one.files))) for one in entries
        ]
        self.of = lru_cache(_MAX_REMEMBERED)(self._of)

    def _of(self, namespace: str, metric: str) -> Way:
        """Return the way to the pages of a namespace's pods, when a metric is read from them."""
        for entry, way in self._entries:
            if entry.is_for(namespace, metric):
                return way
        return self._plain


def merged(rule: Endpoint, way: Endpoint) -> Endpoint:
    """Return where pages are by a rule, and by a way where the rule does not say."""
    ports = rule if rule.port is not None or rule.ports else way
    return Endpoint(ports.port, rule.path or way.path, rule.scheme or way.scheme, ports.ports)
