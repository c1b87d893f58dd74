"""Warning events on HPAs that cannot work.

An HPA is checked when it changes, and all of them every few minutes, as their pods change too.
Checks are spread out: one HPA after the other, with pauses, and in a thread if a namespace has many
pods.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, get_args

from msgspec import Struct

from metrics_server.advising.checks import check
from metrics_server.advising.findings import Finding, Reason, Setup
from metrics_server.advising.regarding import regarding
from metrics_server.advising.store import AutoscalerStore, Key
from metrics_server.errors import RequestError
from metrics_server.kube.autoscalers import Autoscaler
from metrics_server.kube.events import Regarding
from metrics_server.kube.pods import Pod

_PERIOD_SECONDS = 120.0
# How long a finding that may pass must last.
_LASTING_SECONDS = 60.0
# To match this many pods against a requirement takes a few milliseconds.
_FEW_MATCHES = 20_000
# The share of a processor that all checks may take.
_SHARE = 0.05
# The pause between events, so that many at once do not burden the Kubernetes API.
_EVENT_SECONDS = 0.1


class Emitter(Protocol):
    """The method of `kube.events.Events` that is needed here."""

    async def warn(self, regarding: Regarding, reason: str, message: str) -> bool:
        """Emit a Warning event; return whether it is emitted."""
        ...


class Pods(Protocol):
    """The pods of the cluster."""

    def in_namespace(self, namespace: str) -> tuple[Pod, ...]:
        """Return every pod of a namespace, or raise a RequestError if they are not known."""
        ...


# An HPA that was created again under the same name has a different UID, and so other findings.
_Id = tuple[str, Reason, str]


class _Seen(Struct):
    """A finding of an HPA.

    Attributes:
        since: when it was first seen.
        passing: as in the finding.
        emitted: whether it has had its event.
    """

    since: float
    passing: bool
    emitted: bool = False


class Watcher:
    """Checks HPAs, and emits an event for each finding, once.

    Args:
        setup: the configuration of the server.
        pods: the pods of the cluster.
        events: where to emit events.
        period: every how many seconds all HPAs are checked.
        lasting: for how many seconds a finding that may pass must be seen.
        clock: seconds that never run backwards.
    """

    def __init__(
        self,
        setup: Setup,
        pods: Pods,
        events: Emitter,
        *,
        period: float = _PERIOD_SECONDS,
        lasting: float = _LASTING_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._setup = setup
        self._pods = pods
        self._events = events
        self._period = period
        self._lasting = lasting
        self._clock = clock
        self._stores: list[AutoscalerStore] = []
        # In order, each once.
        self._changed: dict[Key, None] = {}
        self._wake = asyncio.Event()
        self._seen: dict[Key, dict[_Id, _Seen]] = {}

    def store(self) -> AutoscalerStore:
        """Return a new store of HPAs to check, of some namespaces or of all."""
        store = AutoscalerStore(self._change)
        self._stores.append(store)
        return store

    def in_namespace(self, namespace: str) -> list[Autoscaler]:
        """Return the HPAs of a namespace that ask for our metrics."""
        return [hpa for store in self._stores for hpa in store.in_namespace(namespace)]

    def counts(self) -> Mapping[str, int]:
        """Return how many findings there are now, by reason."""
        found = Counter(
            reason
            for seen in self._seen.values()
            for (_, reason, _), one in seen.items()
            if self._lasts(one)
        )
        return {reason: found[reason] for reason in get_args(Reason)}

    async def run(self) -> None:
        """Check HPAs until cancelled."""
        due = self._clock() + self._period
        while True:
            if self._clock() >= due:
                due = self._clock() + self._period
                self._changed |= dict.fromkeys(key for one in self._stores for key in one)
            if self._changed:
                key = next(iter(self._changed))
                del self._changed[key]
                await self.look(key)
            else:
                self._wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(due - self._clock()):
                        await self._wake.wait()

    async def look(self, key: Key) -> None:
        """Check one HPA, and emit an event for each new finding."""
        hpa = next(filter(None, (store.get(key) for store in self._stores)), None)
        if hpa is None:
            self._seen.pop(key, None)
            return
        try:
            pods = self._pods.in_namespace(hpa.namespace)
        except RequestError:
            return  # they are not known at the moment
        began = time.monotonic()
        findings = await self._check(hpa, pods)
        await asyncio.sleep((time.monotonic() - began) * (1 / _SHARE - 1))
        before, seen = self._seen.pop(key, {}), {}
        for finding in findings:
            known = (hpa.uid, finding.reason, finding.message)
            seen[known] = before.get(known) or _Seen(self._clock(), finding.passing)
            seen[known].passing = finding.passing
        if seen:
            self._seen[key] = seen
        for (_, reason, message), one in seen.items():
            if not one.emitted and self._lasts(one):
                one.emitted = await self._events.warn(regarding(hpa), reason, message)
                await asyncio.sleep(_EVENT_SECONDS)

    async def _check(self, hpa: Autoscaler, pods: Sequence[Pod]) -> Sequence[Finding]:
        requirements = sum(1 + len(one.selector.requirements) for one in hpa.metrics)
        if len(pods) * requirements <= _FEW_MATCHES:
            return check(hpa, pods, self._setup)
        return await asyncio.to_thread(check, hpa, pods, self._setup)

    def _lasts(self, seen: _Seen) -> bool:
        return not seen.passing or self._clock() - seen.since >= self._lasting

    def _change(self, key: Key) -> None:
        self._changed[key] = None
        self._wake.set()
