"""Which of the metrics in HPAs are ours, or were meant to be."""

import re
from difflib import get_close_matches
from functools import lru_cache

from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import MetricRule

_FIRST_WORD = re.compile(r"[a-z0-9]*")
_MAX_NAME = 64
_NEAREST = 3
# gpu_utilisation and DCGM_FI_DEV_GPU_UTIL_AVG are near, gpu_requests is not.
_NEAR = 0.85


class MetricNames:
    """The names of a set of rules, and those that look like them.

    Args:
        rules: the metrics that are served.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._known = frozenset(rules.known())
        self._names = {name.lower(): name for name in (*rules.gauges(), *rules.names())}
        self._words = {_first_word(name) for name in self._names} - {""}
        self.nearest = lru_cache(maxsize=1024)(self._nearest)

    def may_be_meant(self, name: str) -> bool:
        """Whether a metric may be ours, or near; a quick check of any HPA's metric.

        The first word must be one of ours: cpu_utilization is similar to gpu_utilization, but is
        not ours.
        """
        return name.lower() in self._known or _first_word(name) in self._words

    def find(self, name: str) -> MetricRule | None:
        """Return the rule of a metric; None if it is not ours.

        Raises:
            CounterAskedError: it is a counter of an exporter.
        """
        if name.lower() in self._known:
            return self._rules.find(name)
        self._rules.refuse_counter(name)
        return None

    def _nearest(self, name: str) -> tuple[str, ...]:
        """Return the names so similar to one that it must be a misspelling of them."""
        if not self.may_be_meant(name) or len(name) > _MAX_NAME:
            return ()
        near = get_close_matches(name.lower(), self._names, n=_NEAREST, cutoff=_NEAR)
        return tuple(self._names[one] for one in near)


def _first_word(name: str) -> str:
    found = _FIRST_WORD.match(name.lower())
    return found[0] if found else ""
