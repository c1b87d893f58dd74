"""The well-behaved callers: HPAs, kubectl, probes, Prometheus. Their answers are checked."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from random import Random
from time import monotonic
from typing import Self

import aiohttp
from msgspec import Struct, field
from multidict import CIMultiDict
from yarl import URL

from metrics_server.api.types import GROUP_VERSION
from metrics_server.tls.authority import KeyPair
from metrics_server.tls.certificates import client_context
from tests.soak.checking import exactly, plausibly
from tests.soak.stage import TOKEN, Stage
from tests.soak.world import App
from tests.support.clients import Headers
from tests.support.harness import admin

HPA = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"

# The most requests that each caller has in flight; beyond that it skips one.
# kube-controller-manager has five workers for HPAs.
_WORKERS = {"hpa": 5, "kubectl": 2, "probe": 10, "prometheus": 1, "admin": 1}
_PATIENCE_SECONDS = 20
_LIVEZ_SECONDS = 5
_MOST_KEPT = 30

# Each caller's share of the requests, in percent.
_SHARES = {"hpa": 70, "kubectl": 10, "probe": 12, "prometheus": 4, "admin": 4}
_KUBECTL = (
    "/apis",
    f"/apis/{GROUP_VERSION}",
    f"/apis/{GROUP_VERSION}/namespaces/team-a/gpu_utilization?labelSelector=app%3Dserve",
    "/openapi/v3",
    "/openapi/v2",
    "/version",
)
_PROBES = ("/livez", "/livez", "/readyz", "/healthz")
# Statuses that are acceptable while something fails.
_STATUSES = {
    "hpa": {200, 500, 503},
    "kubectl": {200, 500, 503},
    "probe": {200, 500},
    "prometheus": {200, 401, 500},
    "admin": {200, 503},
}


class Tally(Struct):
    """What callers saw during a period.

    Attributes:
        seconds: how long each answer took.
        statuses: how many answers had each status.
        wrong: how many answers were unexplained.
        lag: the longest delay of this process in sending a request.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    lag: float = 0


class Callers:
    """Asks steadily; an asynchronous context manager.

    Args:
        stage: has the server.
        rate: questions a second.
        seed: determines what is asked when.

    Attributes:
        tally: the results since it was last replaced.
        seconds: how long each answer took, by caller.
        answered: how many answers there were, by caller and status.
        quiet: whether every answer must be exactly right.
    """

    def __init__(self, stage: Stage, *, rate: float, seed: str) -> None:
        self.tally = Tally()
        self.seconds: dict[str, list[float]] = {kind: [] for kind in _SHARES}
        self.answered: Counter[str] = Counter()
        self.quiet = False
        self._stage = stage
        self._world = stage.world
        self._rate = rate
        self._rng = Random(seed)  # noqa: S311 - nothing is to be secret
        self._wrong: list[str] = []
        self._wrongs = 0
        self._stack = AsyncExitStack()
        self._asking: dict[asyncio.Task[None], str] = {}

    async def __aenter__(self) -> Self:
        trust = self._stage.trust
        self._proxy = await self._session(trust.front_proxy())
        self._admin = await self._session(admin(trust))
        self._token = await self._session()
        # The kubelet's probes use new connections.
        self._nobody = await self._session(force_close=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await self._stack.aclose()

    async def _session(
        self, pair: KeyPair | None = None, *, force_close: bool = False
    ) -> aiohttp.ClientSession:
        context = await asyncio.to_thread(client_context, self._stage.authority.bundle, pair)
        connector = aiohttp.TCPConnector(ssl=context, limit=0, force_close=force_close)
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
        session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return await self._stack.enter_async_context(session)

    async def run(self) -> None:
        """Ask until cancelled, at a rate that does not depend on response times."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        kinds, weights = [*_SHARES], [*_SHARES.values()]
        while True:
            due += self._rng.expovariate(self._rate)
            await asyncio.sleep(due - loop.time())
            self.tally.lag = max(self.tally.lag, loop.time() - due)
            (kind,) = self._rng.choices(kinds, weights)
            if [*self._asking.values()].count(kind) >= _WORKERS[kind]:
                self.answered[f"{kind} skipped"] += 1
                continue
            task = asyncio.create_task(self._ask(kind))
            self._asking[task] = kind
            task.add_done_callback(self._asked)

    async def finish(self) -> None:
        """Wait for outstanding answers."""
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def _ask(self, kind: str) -> None:
        match kind:
            case "hpa":
                await self._ask_as_hpa()
            case "kubectl":
                await self._ask_as_kubectl()
            case "probe":
                await self._probe()
            case "prometheus":
                await self._scrape()
            case _:
                await self._ask_as_admin()

    def _asked(self, task: asyncio.Task[None]) -> None:
        del self._asking[task]
        if not task.cancelled() and (error := task.exception()):
            self._check(f"an answer could not be read: {error!r}")

    async def is_well(self) -> str:
        """What is wrong for a state without faults; an empty string if all is well."""
        status, body = await self._get("probe", self._nobody, "/readyz", {})
        if status != 200:
            return f"/readyz: {status} {body.decode(errors='replace')[:500]}"
        for app in self._world.apps:
            status, body = await self._question(app)
            if failing := exactly(self._world, app, status, body):
                return failing
        return ""

    def failures(self) -> list[str]:
        """The unexplained answers, as sentences."""
        if not self._wrongs:
            return []
        return [f"nothing explains {self._wrongs} answers, of which the first are:", *self._wrong]

    async def _ask_as_hpa(self) -> None:
        app = self._rng.choice(self._world.apps)
        quiet, began = self.quiet, monotonic()
        status, body = await self._question(app)
        if quiet and self.quiet:
            self._check(exactly(self._world, app, status, body))
        elif status == 200:
            self._check(plausibly(self._world, app, body, began))

    async def _ask_as_kubectl(self) -> None:
        path = self._rng.choice(_KUBECTL)
        await self._get("kubectl", self._proxy, path, {"X-Remote-User": "kubectl"})

    async def _probe(self) -> None:
        path, began = self._rng.choice(_PROBES), monotonic()
        status, _ = await self._get("probe", self._nobody, path, {})
        taken = monotonic() - began
        if path == "/livez" and (status != 200 or taken > _LIVEZ_SECONDS):
            self._check(f"/livez answered {status} after {taken:.1f} s")

    async def _scrape(self) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        status, body = await self._get("prometheus", self._token, "/metrics", headers)
        if status == 200 and b"gpu_metrics_server" not in body:
            self._check("/metrics has none of the server's metrics")

    async def _ask_as_admin(self) -> None:
        app = self._rng.choice(self._world.apps)
        path = f"/apis/{GROUP_VERSION}/namespaces/{app.namespace}/gpu_memory_used"
        await self._get("admin", self._admin, path, {})

    async def _question(self, app: App) -> tuple[int, bytes]:
        """The status and body of an answer to an HPA."""
        path = (
            f"/apis/{GROUP_VERSION}/namespaces/{app.namespace}/gpu_utilization"
            f"?labelSelector=app%3D{app.name}"
        )
        headers = {
            "X-Remote-User": HPA,
            "X-Remote-Group": "system:serviceaccounts",
            "Accept": "application/vnd.kubernetes.protobuf, */*",
        }
        return await self._get("hpa", self._proxy, path, headers)

    async def _get(
        self, kind: str, session: aiohttp.ClientSession, path: str, headers: Headers
    ) -> tuple[int, bytes]:
        """The status and body of an answer; the status is 0 if there was none."""
        began, quiet = monotonic(), self.quiet
        try:
            async with session.get(
                URL(self._stage.log.url + path, encoded=True), headers=CIMultiDict(headers)
            ) as told:
                status, body = told.status, await told.read()
        except (aiohttp.ClientError, OSError) as error:
            status, body = 0, repr(error).encode()
        taken = monotonic() - began
        self.tally.seconds.append(taken)
        self.tally.statuses[str(status or "none")] += 1
        self.answered[f"{kind} {status or 'none'}"] += 1
        self.seconds[kind].append(taken)
        if status not in _STATUSES[kind] or (quiet and self.quiet and status != 200):
            told_here = body.decode(errors="replace")[:300]
            self._check(f"{kind} {path} answered {status or 'nothing'}: {told_here}")
        return status, body

    def _check(self, failing: str) -> None:
        if failing:
            self._wrongs += 1
            self.tally.wrong += 1
            if len(self._wrong) < _MOST_KEPT:
                self._wrong.append(f"[{'quiet' if self.quiet else 'faults'}] {failing}")
