"""Several queries about one moment, and what its times are by the clock of this server."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Literal, TypeVar

from metrics_server.errors import QueryError, QueryReason
from metrics_server.sources.prometheus.client import PrometheusClient, Series
from metrics_server.sources.prometheus.rows import Identity, identity
from metrics_server.sources.turns import Turns
from metrics_server.telemetry.metrics import Monitor

# Annotations of the expression itself, since Prometheus 2.50 and 3.0: no data is missing.
_REMARKS = ("PromQL info", "PromQL warning")

T = TypeVar("T")


class Moment:
    """The moment of the first query; the others are evaluated as of the same moment.

    Ages are differences of Prometheus's own times, so its clock need not agree with this server's.

    Args:
        client: sends the queries.
        monitor: counts them.
        of: the namespace that they are about; "" for none.
        clock: seconds, on a monotonic clock.

    Attributes:
        began: when the first query was sent, by that clock.
        time: the moment, in seconds since the epoch by Prometheus; None before the first result
            that is not empty.
        warnings: what Prometheus reported, each once.
    """

    def __init__(
        self,
        client: PrometheusClient,
        monitor: Monitor,
        clock: Callable[[], float] = time.monotonic,
        *,
        of: str = "",
    ) -> None:
        self._of = of
        self._client = client
        self._monitor = monitor
        self._clock = clock
        self.began = clock()
        self.time: float | None = None
        self.warnings: dict[str, None] = {}

    async def query(self, promql: str) -> tuple[Series, ...]:
        """Return the result of a query.

        Args:
            promql: the query.

        Raises:
            QueryError: it has no usable result.
        """
        began = self._clock()
        outcome: QueryReason | Literal["ok"] = "ok"
        try:
            found = await self._client.query(promql, time=self.time, of=self._of)
        except QueryError as error:
            outcome = error.reason
            raise
        finally:
            self._monitor.queried(outcome, self._clock() - began)
        self.warnings |= dict.fromkeys(found.warnings)
        if self.time is None and found.series:
            self.time = found.series[0].timestamp
        return found.series

    @property
    def is_partial(self) -> bool:
        """Whether a warning says, or may say, that some of the data is missing."""
        return any(not one.startswith(_REMARKS) for one in self.warnings)

    def age(self, timestamp: float) -> float:
        """Return how old a sample was at the moment, in seconds."""
        return 0.0 if self.time is None else max(0.0, self.time - timestamp)

    def monotonic(self, timestamp: float) -> float:
        """Return the time of a sample by the monotonic clock; if in doubt, too early."""
        return self.began - self.age(timestamp)


async def together(queries: Iterable[Awaitable[T]]) -> list[T]:
    """Return the results of all of them, once all have ended, even if one fails.

    Raises:
        Exception: the first of their errors.
    """
    done = await asyncio.gather(*queries, return_exceptions=True)
    results: list[T] = []
    for one in done:
        if isinstance(one, BaseException):
            raise one
        results.append(one)
    return results


def drained(items: list[T]) -> Iterator[T]:
    """Return the items of a list, which is emptied.

    Freeing tens of thousands of series at once takes as long as decoding them.
    """
    items.reverse()
    while items:
        yield items.pop()


async def values_of(series: list[Series], turns: Turns) -> dict[Identity, float]:
    """Return the value of each series of a list, which is emptied."""
    values: dict[Identity, float] = {}
    for one in drained(series):
        await turns.next()
        values[identity(one.labels)] = one.value
    return values
