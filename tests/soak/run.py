"""The soak from its start to its verdict."""

import asyncio
import tempfile
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from time import monotonic, process_time

from msgspec import Struct

from metrics_server.auth.identity import User
from metrics_server.demo.trust import SimulatedTrust
from metrics_server.serving.authority import Authority
from metrics_server.serving.certificates import client_context, context_from_pair
from tests.faults.process import ServerProcess, server_process
from tests.harness import write_kubeconfig
from tests.soak.api import FaultyAPI
from tests.soak.callers import TOKEN, Callers, Tally
from tests.soak.faults import Stage, inject
from tests.soak.report import MORE_DESCRIPTORS, MORE_TASKS, Minute, Record, judge
from tests.soak.sampling import PREAMBLE, Log, Process, Sample
from tests.soak.world import World

# An exporter that is only late, on a machine that others use, is no fault.
_CONFIG = "exporters: {timeout: 3s}\nfallback: {chain: [last-known, error]}\n"
_START_SECONDS = 60
_MINUTE = 60


class Plan(Struct, frozen=True):
    """How a soak runs; times are in seconds.

    Attributes:
        duration: how long faults are injected.
        seed: of everything that is random.
        rate: questions a second.
        faults: how long each cycle injects faults.
        quiet: how long everything must then be exactly right.
        recovery: how long it may take until it is.
        preamble: code that the server's process runs first.
    """

    duration: float
    seed: int
    rate: float = 12
    faults: float = 30
    quiet: float = 10
    recovery: float = 90
    preamble: str = ""


class Failed(Exception):  # noqa: N818 - the soak has, not the program
    """The run need not go on."""


async def soak(plan: Plan, log_file: Path, told: Callable[[Record], None]) -> Record:
    """Run it, and say what was seen.

    Args:
        plan: how.
        log_file: where the server's log goes.
        told: called each minute with what was seen so far.
    """
    record = Record(plan.seed)
    try:
        async with AsyncExitStack() as stack:
            run = await stack.enter_async_context(_running(plan, log_file, record, told))
            await run.all_of_it()
    except Failed as failed:
        record.failures.append(str(failed))
    except Exception as error:  # noqa: BLE001 - what an hour has shown is not thrown away
        traceback.print_exc()
        record.failures.append(f"the soak itself failed: {error!r}")
    record.ended = True
    judge(record)
    return record


@asynccontextmanager
async def _running(
    plan: Plan, log_file: Path, record: Record, told: Callable[[Record], None]
) -> AsyncIterator["_Run"]:
    """A server process in its cluster, with all that acts on it."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority = Authority("kubernetes")
        context = await asyncio.to_thread(context_from_pair, authority.issue(["127.0.0.1"]))
        api = await stack.enter_async_context(FaultyAPI(ssl_context=context))
        trust = SimulatedTrust(api, {TOKEN: User(TOKEN, groups=("monitoring",))})
        world = await stack.enter_async_context(World(api, f"{plan.seed}-world"))
        serving = Authority("serving")
        pair = serving.issue(["127.0.0.1"])
        (folder / "tls.crt").write_bytes(pair.certificate)
        (folder / "tls.key").write_bytes(pair.key)
        (folder / "config.yaml").write_text(_CONFIG)
        write_kubeconfig(folder / "kubeconfig", api.url, authority.bundle)
        written = stack.enter_context(log_file.open("wb"))
        log = Log(stack.enter_context(log_file.open("rb")))
        inside = folder / "inside.json"
        server = await stack.enter_async_context(
            server_process(
                *("--kubeconfig", folder / "kubeconfig", "--config", folder / "config.yaml"),
                *("--cert-dir", folder),
                preamble=PREAMBLE.format(path=str(inside)) + plan.preamble,
                stderr=written.fileno(),
            )
        )
        began = monotonic()
        while not log.url:
            log.read()
            if server.process.returncode is not None or monotonic() - began > _START_SECONDS:
                raise Failed(f"the server did not start: {log.bad}")
            await asyncio.sleep(0.05)
        anonymous = await asyncio.to_thread(client_context, serving.bundle)
        proxy = await asyncio.to_thread(client_context, serving.bundle, trust.front_proxy())
        host, _, port = log.url.removeprefix("https://").partition(":")
        stage = Stage(world, api, trust, folder, serving, host, int(port), anonymous, proxy)
        callers = await stack.enter_async_context(
            Callers(
                log.url, serving.bundle, trust, world, rate=plan.rate, seed=f"{plan.seed}-callers"
            )
        )
        process = Process(server.process.pid, inside)
        yield _Run(plan, record, told, server, process, log, stage, callers)


class _Run:
    def __init__(
        self,
        plan: Plan,
        record: Record,
        told: Callable[[Record], None],
        server: ServerProcess,
        process: Process,
        log: Log,
        stage: Stage,
        callers: Callers,
    ) -> None:
        self._plan, self._record, self._told = plan, record, told
        self._spent = process_time()
        self._server, self._process, self._log = server, process, log
        self._stage, self._callers = stage, callers
        self._began = monotonic()
        self._minute = Minute([], callers.tally, {}, 0)
        self._last_levels: dict[str, int] = {}
        self._last_wrongs = 0

    async def all_of_it(self) -> None:
        """Warm up, then cycles of faults, recovery and quiet, then the end."""
        try:
            await self._within_a_sampled_run()
        finally:
            self._turn_minute()
            record, callers = self._record, self._callers
            record.failures += [
                f"{callers.wrongs} answers that nothing explains, such as: {wrong}"
                for wrong in callers.wrong[:1]
            ]
            record.failures += [f"    {wrong}" for wrong in callers.wrong[1:]]
            record.failures += [f"a line of the log: {line}" for line in self._log.bad]

    async def _within_a_sampled_run(self) -> None:
        main = asyncio.create_task(self._cycles())
        others = [
            asyncio.create_task(self._callers.run()),
            asyncio.create_task(self._sample()),
        ]
        try:
            done, _ = await asyncio.wait([main, *others], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (main, *others):
                task.cancel()
            await asyncio.gather(main, *others, return_exceptions=True)
        await self._stop()

    async def _cycles(self) -> None:
        plan, rng = self._plan, Random(f"{self._plan.seed}-faults")
        await self._recover("the start")
        end = monotonic() + plan.duration
        self._record.baseline = await self._settled()
        while (left := end - monotonic()) > 0:
            await inject(self._stage, rng, min(plan.faults, left))
            await self._recover(f"the faults so far ({self._stage.counts})")
        await self._return_to_baseline()

    async def _recover(self, after: str) -> None:
        """Wait until all is well again, and let it stay so for a while."""
        began = monotonic()

        async def well() -> str:
            return await self._callers.is_well()

        try:
            await self._until(well, f"all was not well {{within}} after {after}")
        except Failed as failed:
            self._record.failures.append(str(failed))
            return  # and see whether the next faults are recovered from
        self._record.recoveries.append(monotonic() - began)
        await self._quiet()

    async def _quiet(self) -> None:
        self._stage.world.forget()
        before = self._callers.answered["hpa 200"]
        self._callers.quiet = True
        await asyncio.sleep(self._plan.quiet)
        self._callers.quiet = False
        self._record.quiet_seconds += self._plan.quiet
        self._record.quiet_answers += self._callers.answered["hpa 200"] - before

    async def _settled(self) -> Sample:
        """A sample of the process while it does little."""
        self._process.inside()
        await asyncio.sleep(0.2)
        return self._process.sample(monotonic() - self._began)

    async def _return_to_baseline(self) -> None:
        """Wait until tasks and descriptors are what they were before the first fault."""
        baseline = self._record.baseline
        assert baseline is not None

        async def grown() -> str:
            self._record.final = now = await self._settled()
            if now.tasks > baseline.tasks + MORE_TASKS:
                names = self._process.inside().names
                return f"{now.tasks} tasks, {baseline.tasks} before the faults: {names}"
            if now.descriptors > baseline.descriptors + MORE_DESCRIPTORS:
                return f"{now.descriptors} descriptors, {baseline.descriptors} before the faults"
            return ""

        await self._until(grown, "something is left behind {within} after the last fault")

    async def _until(self, ask: Callable[[], Awaitable[str]], otherwise: str) -> None:
        end = monotonic() + self._plan.recovery
        while failing := await ask():
            if monotonic() > end:
                within = f"within {self._plan.recovery:.0f} s"
                raise Failed(f"{otherwise.format(within=within)}: {failing}")
            await asyncio.sleep(0.25)

    async def _sample(self) -> None:
        """Sample once a second, for ever."""
        while True:
            at = monotonic() - self._began
            if self._server.process.returncode is not None:
                raise Failed(f"the server ended with {self._server.process.returncode}")
            self._minute.samples.append(self._process.sample(at))
            self._log.read()
            if at // _MINUTE >= len(self._record.minutes) + 1:
                self._turn_minute()
                self._told(self._record)
            await asyncio.sleep(1)

    def _turn_minute(self) -> None:
        levels = dict(self._log.levels)
        self._minute.levels = {n: levels[n] - self._last_levels.get(n, 0) for n in levels}
        self._minute.wrong = self._callers.wrongs - self._last_wrongs
        self._last_levels, self._last_wrongs = levels, self._callers.wrongs
        self._record.minutes.append(self._minute)
        self._callers.tally = Tally()
        self._minute = Minute([], self._callers.tally, {}, 0)
        record, callers = self._record, self._callers
        record.seconds = monotonic() - self._began
        record.driver_cpu = process_time() - self._spent
        record.faults = self._stage.counts
        record.kinds, record.answered = callers.kinds, dict(callers.answered)
        record.events = dict(self._log.events)

    async def _stop(self) -> None:
        """Let the server end as it does in a cluster."""
        self._server.process.terminate()
        status = await asyncio.wait_for(self._server.process.wait(), 30)
        self._log.read()
        if status != 0:
            self._record.failures.append(f"the server ended with {status} when told to stop")
