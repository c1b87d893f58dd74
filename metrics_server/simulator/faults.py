"""What can go wrong with what is simulated, and the one way to switch it on.

A test, or the demo, sets a `Fault` on an exporter, on all exporters of a cluster, or on the reviews
of the Kubernetes API, and takes it away again:

    await exporter.set_fault(Fault("slow", seconds=2))
    await cluster.set_fault(Fault("error"))
    trust.reviews.set_fault(Fault("hang"))
    trust.reviews.set_fault(None)

What goes wrong with the Kubernetes API once, rather than for a while, is under `api.faults`
(`simulator.kube.api_faults`):

    api.faults.refuse_next(503, "the server is shutting down", times=3)
    api.faults.drop_watches()
"""

import asyncio
from typing import Literal

from msgspec import Struct

FaultKind = Literal["down", "slow", "hang", "error", "garbage", "unlabelled"]


class Fault(Struct, frozen=True):
    """What is wrong, for as long as it is set.

    Attributes:
        kind: "down": connections are refused (exporters only). "slow": the answer comes late.
            "hang": none ever comes. "error": HTTP 500. "garbage": an answer that makes no sense.
            "unlabelled": the page names no pods (exporters only).
        seconds: how late "slow" is.
    """

    kind: FaultKind
    seconds: float = 5

    async def delay(self) -> None:
        """Wait, if it is a fault of that kind."""
        if self.kind == "slow":
            await asyncio.sleep(self.seconds)
        elif self.kind == "hang":
            await asyncio.Event().wait()
