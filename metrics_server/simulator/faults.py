"""The faults that can be simulated, and the one way to set them.

A test, or the demo, sets a `Fault` on an exporter, on all exporters of a cluster, or on the reviews
of the Kubernetes API, and removes it again:

    await exporter.set_fault(Fault("slow", seconds=2))
    await cluster.set_fault(Fault("error"))
    trust.reviews.set_fault(Fault("hang"))
    trust.reviews.set_fault(None)

One-off faults of the Kubernetes API are methods of `api.faults` (`simulator.kube.api_faults`):

    api.faults.refuse_next(503, "the server is shutting down", times=3)
    api.faults.drop_watches()
"""

import asyncio
from typing import Literal

from msgspec import Struct

FaultKind = Literal["down", "slow", "hang", "error", "garbage", "unlabelled"]


class Fault(Struct, frozen=True):
    """A fault, in effect for as long as it is set.

    Attributes:
        kind: "down": connections are refused (exporters only). "slow": the answer is late. "hang":
            there is never an answer. "error": HTTP 500. "garbage": the answer is nonsense.
            "unlabelled": the page has no pod labels (exporters only).
        seconds: the delay of "slow".
    """

    kind: FaultKind
    seconds: float = 5

    async def delay(self) -> None:
        """Wait, if the fault is a delay."""
        if self.kind == "slow":
            await asyncio.sleep(self.seconds)
        elif self.kind == "hang":
            await asyncio.Event().wait()
