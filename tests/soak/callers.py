"""The callers who behave: HPAs, kubectl, probes, Prometheus. What they are answered is checked."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from random import Random
from time import monotonic
from typing import Self

import aiohttp
import msgspec
from msgspec import Struct, field
from multidict import CIMultiDict
from yarl import URL

from metrics_server.api.types import GROUP_VERSION, ExternalMetricValueList
from metrics_server.demo.trust import SimulatedTrust
from metrics_server.serving.authority import KeyPair
from metrics_server.serving.certificates import client_context
from tests.harness import Headers
from tests.soak.world import App, World

HPA = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
TOKEN = "prometheus"  # noqa: S105 - of the simulated cluster

# How many questions each caller has under way at most, and skips the next: kube-controller-manager
# has five workers for HPAs.
_WORKERS = {"hpa": 5, "kubectl": 2, "probe": 10, "prometheus": 1, "admin": 1}
_PATIENCE_SECONDS = 20
_LIVEZ_SECONDS = 5
# From then on a change of the pods must be in an answer that was measured in whole.
_SETTLED_SECONDS = 10
_MOST_KEPT = 30

# How often who asks, in parts of all questions.
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
# What an HPA may be answered while something fails: a value, or an error that says what.
_STATUSES = {
    "hpa": {200, 500, 503},
    "kubectl": {200, 500, 503},
    "probe": {200, 500},
    "prometheus": {200, 401, 500},
    "admin": {200, 503},
}


class Tally(Struct):
    """What callers saw in some time; `seconds` are those of each answer."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    lag: float = 0


class Callers:
    """Asks steadily; an asynchronous context manager.

    Args:
        url: of the server.
        bundle: to verify the server by.
        trust: gives the callers' certificates.
        world: knows the right answers.
        rate: questions a second.
        seed: of what is asked when.

    Attributes:
        tally: what was seen since it was last replaced.
        kinds: the seconds of all answers, by who asked.
        wrong: answers that nothing explains, as sentences.
        wrongs: how many there were.
        quiet: whether every answer must be exactly right.
    """

    def __init__(
        self,
        url: str,
        bundle: bytes,
        trust: SimulatedTrust,
        world: World,
        *,
        rate: float,
        seed: str,
    ) -> None:
        self.tally = Tally()
        self.kinds: dict[str, list[float]] = {kind: [] for kind in _SHARES}
        self.answered: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.wrongs = 0
        self.quiet = False
        self._url = url
        self._bundle = bundle
        self._trust = trust
        self._world = world
        self._rate = rate
        self._rng = Random(seed)
        self._stack = AsyncExitStack()
        self._asking: dict[asyncio.Task[None], str] = {}

    async def __aenter__(self) -> Self:
        trust = self._trust
        admin = trust.clients.issue_client("admin", ["system:masters"])
        self._proxy = await self._session(trust.front_proxy())
        self._admin = await self._session(admin)
        self._token = await self._session(None)
        # The kubelet's probes come on connections of their own.
        self._nobody = await self._session(None, force_close=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await self._stack.aclose()

    async def _session(
        self, pair: KeyPair | None, *, force_close: bool = False
    ) -> aiohttp.ClientSession:
        context = await asyncio.to_thread(client_context, self._bundle, pair)
        connector = aiohttp.TCPConnector(ssl=context, limit=0, force_close=force_close)
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
        session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return await self._stack.enter_async_context(session)

    async def run(self) -> None:
        """Ask, until cancelled: at its times, however long answers take."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        kinds, weights = [*_SHARES], [*_SHARES.values()]
        asks: dict[str, Callable[[], Coroutine[None, None, None]]] = {
            "hpa": self._ask_as_hpa,
            "kubectl": self._ask_as_kubectl,
            "probe": self._probe,
            "prometheus": self._scrape,
            "admin": self._ask_as_admin,
        }
        while True:
            due += self._rng.expovariate(self._rate)
            await asyncio.sleep(due - loop.time())
            self.tally.lag = max(self.tally.lag, loop.time() - due)
            (kind,) = self._rng.choices(kinds, weights)
            if [*self._asking.values()].count(kind) >= _WORKERS[kind]:
                self.answered[f"{kind} skipped"] += 1
                continue
            task = asyncio.create_task(asks[kind]())
            self._asking[task] = kind
            task.add_done_callback(self._asked)

    def _asked(self, task: asyncio.Task[None]) -> None:
        del self._asking[task]
        if not task.cancelled() and (error := task.exception()):
            self._check(f"what was answered could not be read: {error!r}")

    async def is_well(self) -> str:
        """Nothing if the server is Ready and every answer is exactly right; else what is not."""
        status, body = await self._get("probe", self._nobody, "/readyz", {})
        if status != 200:
            return f"/readyz: {status} {body.decode(errors='replace')[:500]}"
        for app in self._world.apps:
            status, body = await self._question(app)
            if failing := self._exactly(app, status, body):
                return failing
        return ""

    async def _ask_as_hpa(self) -> None:
        app = self._rng.choice(self._world.apps)
        quiet, began = self.quiet, monotonic()
        status, body = await self._question(app)
        if quiet and self.quiet:
            self._check(self._exactly(app, status, body))
        elif status == 200:
            self._check(self._plausibly(app, body, began))

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
        """What an HPA is answered."""
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
        """The status, 0 where no answer came, and the body."""
        began = monotonic()
        try:
            async with session.get(
                URL(self._url + path, encoded=True), headers=CIMultiDict(headers)
            ) as told:
                status, body = told.status, await told.read()
        except (aiohttp.ClientError, OSError) as error:
            status, body = 0, repr(error).encode()
        taken = monotonic() - began
        self.tally.seconds.append(taken)
        self.tally.statuses[str(status or "none")] += 1
        self.answered[f"{kind} {status or 'none'}"] += 1
        self.kinds[kind].append(taken)
        if status not in _STATUSES[kind] or (self.quiet and status != 200):
            told_here = body.decode(errors="replace")[:300]
            self._check(f"{kind} {path} answered {status or 'nothing'}: {told_here}")
        return status, body

    def _check(self, failing: str) -> None:
        if failing:
            self.wrongs += 1
            if len(self.wrong) < _MOST_KEPT:
                phase = "quiet" if self.quiet else "faults"
                self.wrong.append(f"[{phase}] {failing}")

    def _exactly(self, app: App, status: int, body: bytes) -> str:
        """Nothing if the answer is what it must be while all is well."""
        if status != 200:
            return f"{app.namespace}/{app.name}: {status} {body.decode(errors='replace')[:500]}"
        value, source, pods = _item(body)
        right = self._world.right(app)
        if (value, pods, source) == (*right, "exporters"):
            return ""
        return (
            f"{app.namespace}/{app.name}: {value} of {pods} from {source}, not {right[0]} of "
            f"{right[1]}"
        )

    def _plausibly(self, app: App, body: bytes, began: float) -> str:
        """Nothing if what is and lately was true explains the value."""
        told, source, pods = _item(body)
        value = float(told[:-1]) / 1000 if told.endswith("m") else float(told)
        covered, _, asked = pods.partition("/")
        past = self._world.past[app]
        low, high = past.lowest - 1, past.highest + 1
        scaled = past.most / max(1, past.fewest)
        if source != "exporters" or told.endswith("m"):
            low, high = low / scaled, high * scaled
        if not low <= value <= high:
            return (
                f"{app.namespace}/{app.name}: {told} of {pods} from {source}, but pods were "
                f"between {past.lowest} and {past.highest}"
            )
        if source == "exporters" and self._world.pods_known:
            if not past.fewest <= int(asked) <= past.most:
                return f"{app.namespace}/{app.name}: {pods} pods, of {past.fewest} to {past.most}"
            settled = past.changed < began - _SETTLED_SECONDS and not self._world.drains(app)
            if covered == asked and settled:
                return self._exactly(app, 200, body)
        return ""


def _item(body: bytes) -> tuple[str, str, str]:
    """The value of an answer's one item, its source, and the pods that it covers."""
    (item,) = msgspec.json.decode(body, type=ExternalMetricValueList).items
    labels = item.metric_labels
    return item.value, labels["source"], labels["pods"]
