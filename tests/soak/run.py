"""The soak from start to verdict."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from random import Random
from time import monotonic, process_time

from msgspec import Struct

from tests.soak.callers import Callers, Tally
from tests.soak.faults import inject
from tests.soak.report import MORE_DESCRIPTORS, MORE_TASKS, Minute, Record, judge
from tests.soak.sampling import Sample
from tests.soak.stage import Failed, Stage, staged

_MINUTE = 60
_STOP_SECONDS = 30


class Plan(Struct, frozen=True):
    """How a soak runs; times are in seconds.

    Attributes:
        duration: how long faults are injected.
        seed: for all randomness.
        rate: questions a second.
        faults: how long each cycle injects faults.
        quiet: how long every answer must stay exactly right after each.
        recovery: how long it may take until every answer is exactly right again.
        preamble: code that the server's process runs first.
    """

    duration: float
    seed: int
    rate: float = 12
    faults: float = 30
    quiet: float = 10
    recovery: float = 90
    preamble: str = ""


async def soak(plan: Plan, log_file: Path, report: Callable[[Record], None]) -> Record:
    """Run the soak.

    Args:
        plan: what to do.
        log_file: where the server's log goes.
        report: called with the record so far, each minute.

    Returns:
        The record, including failures of the server.
    """
    record = Record(plan.seed)
    try:
        async with (
            staged(plan.seed, log_file, plan.preamble) as stage,
            Callers(stage, rate=plan.rate, seed=f"{plan.seed}-callers") as callers,
        ):
            await _Run(plan, record, report, stage, callers).run()
    except Failed as failed:
        record.failures.append(str(failed))
    except asyncio.CancelledError:  # by Ctrl-C
        record.failures.append("it was interrupted")
    except Exception as error:  # noqa: BLE001 - an hour's figures are not thrown away
        traceback.print_exc()
        record.failures.append(f"the soak itself failed: {error!r}")
    record.ended = True
    judge(record)
    return record


class _Run:
    """A soak whose server serves."""

    def __init__(
        self,
        plan: Plan,
        record: Record,
        report: Callable[[Record], None],
        stage: Stage,
        callers: Callers,
    ) -> None:
        self._plan, self._record, self._report = plan, record, report
        self._stage, self._callers = stage, callers
        self._began, self._spent = monotonic(), process_time()
        self._minute = Minute(tally=callers.tally)

    async def run(self) -> None:
        """Run the cycles while callers ask, and then stop the server."""
        try:
            await self._while_asked(self._cycles())
            # A stopping server refuses new connections.
            await self._callers.finish()
            await self._stop()
        finally:
            self._stage.log.read()
            self._turn_minute()
            self._record.failures += self._callers.failures()
            self._record.failures += [f"a line of the log: {one}" for one in self._stage.log.bad]

    async def _while_asked(self, cycles: Coroutine[None, None, None]) -> None:
        ended = asyncio.create_task(self._ended())
        tasks = [
            ended,
            asyncio.create_task(cycles),
            asyncio.create_task(self._callers.run()),
            asyncio.create_task(self._sample()),
        ]
        try:
            # Everything but the cycles ends only by failing.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except (ProcessLookupError, FileNotFoundError):
            await ended  # the sampling noticed first
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _cycles(self) -> None:
        plan, record = self._plan, self._record
        rng = Random(f"{plan.seed}-faults")  # noqa: S311 - nothing is to be secret
        await self._recover("the start")
        record.baseline = await self._counted()
        end = monotonic() + plan.duration
        while (left := end - monotonic()) > 0:
            before = self._stage.injected.copy()
            await inject(self._stage, rng, min(plan.faults, left))
            await self._recover(", ".join(self._stage.injected - before))
        await self._return_to_baseline(record.baseline)

    async def _recover(self, after: str) -> None:
        """Wait until all is well again, and check that it stays so for a while."""
        began = monotonic()
        try:
            await self._until(self._well, f"all was not well {{within}} after {after}")
        except Failed as failed:
            self._record.failures.append(str(failed))
            return  # it may recover from the next faults
        self._record.recoveries.append(monotonic() - began)
        self._stage.world.forget()
        before = self._callers.answered["hpa 200"]
        self._callers.quiet = True
        await asyncio.sleep(self._plan.quiet)
        self._callers.quiet = False
        self._record.quiet_seconds += self._plan.quiet
        self._record.quiet_answers += self._callers.answered["hpa 200"] - before

    async def _well(self) -> str:
        """What is wrong for a state without faults; an empty string if all is well.

        A watch that is waiting to retry misses what the faults have moved, though as long as
        pages are cached every answer may be right.
        """
        self._stage.log.read()
        if self._stage.log.adrift:
            return f"no contact: {', '.join(sorted(self._stage.log.adrift))}"
        return await self._callers.is_well()

    async def _return_to_baseline(self, baseline: Sample) -> None:
        """Wait until tasks and descriptors are back at their counts before the first fault."""

        async def left_over() -> str:
            self._record.final = now = await self._counted()
            over: list[str] = []
            if now.tasks > baseline.tasks + MORE_TASKS:
                names = self._stage.process.inside().names
                over.append(f"{now.tasks} tasks, {baseline.tasks} before the faults: {names}")
            if now.descriptors > baseline.descriptors + MORE_DESCRIPTORS:
                over.append(f"{now.descriptors} descriptors, {baseline.descriptors} before")
            return "; ".join(over)

        await self._until(left_over, "something was left over {within} after the last fault")

    async def _until(self, ask: Callable[[], Awaitable[str]], otherwise: str) -> None:
        """Ask until the answer is empty; raise Failed if that takes too long."""
        end = monotonic() + self._plan.recovery
        while failing := await ask():
            if monotonic() > end:
                within = f"within {self._plan.recovery:.0f} s"
                raise Failed(f"{otherwise.format(within=within)}: {failing}")
            await asyncio.sleep(0.25)

    async def _counted(self) -> Sample:
        """A sample with up-to-date counts from inside the process."""
        self._stage.process.inside()
        await asyncio.sleep(0.2)
        return self._stage.process.sample(monotonic() - self._began)

    async def _ended(self) -> None:
        """Fail if the server exits."""
        raise Failed(f"the server ended with {await self._stage.server.process.wait()}")

    async def _sample(self) -> None:
        """Sample every second, until cancelled."""
        while True:
            at = monotonic() - self._began
            self._minute.samples.append(self._stage.process.sample(at))
            self._stage.log.read()
            if at >= _MINUTE * (len(self._record.minutes) + 1):
                self._turn_minute()
                self._report(self._record)
            await asyncio.sleep(1)

    def _turn_minute(self) -> None:
        """Update the record, and begin another minute."""
        record, callers, log = self._record, self._callers, self._stage.log
        self._minute.levels, log.levels = log.levels, type(log.levels)()
        record.minutes.append(self._minute)
        callers.tally = Tally()
        self._minute = Minute(tally=callers.tally)
        record.seconds = monotonic() - self._began
        record.driver_cpu = process_time() - self._spent
        record.faults = self._stage.injected
        record.seconds_by_caller, record.answered = callers.seconds, callers.answered
        record.events = log.events

    async def _stop(self) -> None:
        """Stop the server as a kubelet would."""
        process = self._stage.server.process
        process.terminate()
        try:
            status = await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            raise Failed(f"the server did not stop within {_STOP_SECONDS} s") from None
        if status != 0:
            raise Failed(f"the server stopped with {status}")
