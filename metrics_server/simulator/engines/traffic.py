"""Requests to a model: when they arrive, where they wait, and how long they take.

Everything here is simulated. The gateway sends each request at once to the pod that has the
fewest, and holds it only while no pod is Ready. (A real endpoint picker also holds requests while
every pod is saturated.) An engine works on `BATCH` requests at once; the others wait in it.
"""

from collections.abc import Sequence
from math import floor

from msgspec import Struct

BATCH = 8
"""As vLLM's --max-num-seqs, which is 256 by default."""

PROMPT_TOKENS = 400
GENERATED_TOKENS = 150

_STEP_SECONDS = 0.05


class Arrivals(Struct, frozen=True, kw_only=True):
    """Requests per second: they grow to a peak and stay there; then there are none; and again.

    Attributes:
        peak: requests per second.
        busy: how long there are requests, in seconds; they grow in the first quarter.
        quiet: how long there are none.
    """

    peak: float
    busy: float
    quiet: float

    def rate(self, time: float) -> float:
        """Return the requests per second at a time in seconds."""
        time %= self.busy + self.quiet
        return self.peak * min(1, 4 * time / self.busy) if time < self.busy else 0


class Steady(Struct, frozen=True):
    """The same number of requests per second at any time.

    Attributes:
        peak: requests per second.
    """

    peak: float

    def rate(self, _: float) -> float:
        """Return the requests per second."""
        return self.peak


class Engine(Struct):
    """An engine in a pod.

    Attributes:
        requests: those that it has, running or waiting.
        finished: those that it has answered.
        work: what it has done for the running requests, in requests.
    """

    requests: int = 0
    finished: int = 0
    work: float = 0

    @property
    def running(self) -> int:
        """Requests in the current batch."""
        return min(self.requests, BATCH)

    @property
    def waiting(self) -> int:
        """Requests not yet scheduled."""
        return self.requests - self.running

    def serve(self, share: float) -> None:
        """Work on the batch for a share of the time that it takes for a request."""
        self.work += self.running * share
        done = min(floor(self.work), self.requests)
        self.requests -= done
        self.finished += done
        self.work = self.work - done if self.requests else 0


class Traffic:
    """The requests to one model.

    Args:
        arrivals: when requests arrive; it may be replaced at any time.
        service: how long an engine takes for a request, however many it works on, in seconds.
    """

    def __init__(self, arrivals: Arrivals | Steady, service: float) -> None:
        self.engines: dict[str, Engine] = {}
        """The engines, by the names of their pods."""
        self.held = 0
        """Requests that the gateway holds."""
        self.arrived = 0
        """Requests that have arrived."""
        self.arrivals = arrivals
        self._service = service
        self._now = 0.0
        self._coming = 0.0

    @property
    def in_flight(self) -> int:
        """Requests that the gateway has sent on, and that are not answered."""
        return sum(engine.requests for engine in self.engines.values())

    def rate(self, time: float) -> float:
        """Return the requests per second at a time."""
        return self.arrivals.rate(time)

    def advance(self, time: float, ready: Sequence[str]) -> None:
        """Let time pass; requests of pods that are not Ready any more are sent on again.

        Args:
            time: the time until which requests come and are answered, in seconds.
            ready: the names of the pods that are Ready.
        """
        for name in self.engines.keys() - set(ready):
            self.held += self.engines.pop(name).requests
        for name in ready:
            self.engines.setdefault(name, Engine())
        while self._now < time:
            step = min(_STEP_SECONDS, time - self._now)
            self._come(step)
            self._send()
            for engine in self.engines.values():
                engine.serve(step / self._service)
            # Not a sum of steps, or the last one could be too short to count.
            self._now = time if step < _STEP_SECONDS else self._now + step

    def _come(self, seconds: float) -> None:
        self._coming += self.rate(self._now) * seconds
        new = floor(self._coming)
        self._coming -= new
        self.arrived += new
        self.held += new

    def _send(self) -> None:
        while self.held and self.engines:
            min(self.engines.values(), key=lambda engine: engine.requests).requests += 1
            self.held -= 1
