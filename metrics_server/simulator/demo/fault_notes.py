"""Lines that say when exporters' faults begin and end, set by a flag or on the page."""

from collections.abc import Sequence

from metrics_server.simulator.faults import Fault, FaultKind
from metrics_server.simulator.gpus.exporters import SimulatedExporter

_WHAT: dict[FaultKind, str] = {
    "down": "connections are refused",
    "slow": "answers are late",
    "hang": "there is no answer",
    "error": "the answer is HTTP 500",
    "garbage": "the answer is not metrics",
    "unlabelled": "metrics have no pod labels",
}


class FaultNotes:
    """Compares the exporters' faults with what they were.

    Args:
        exporters: all exporters.
    """

    def __init__(self, exporters: Sequence[SimulatedExporter]) -> None:
        self._exporters = exporters
        self._lasting: tuple[Fault, int] | None = None
        self._began = 0.0

    def changes(self, seconds: float) -> list[str]:
        """Return a line for a fault that has ended since the last call, and for one that has begun.

        Args:
            seconds: since the start of the demo.
        """
        faults = [exporter.fault for exporter in self._exporters if exporter.fault is not None]
        present = (faults[0], len(faults)) if faults else None
        if present == self._lasting:
            return []
        lines = []
        if self._lasting is not None:
            lasted = f"after {seconds - self._began:.0f} s"
            lines.append(f"{_time(seconds)}fault ends:   {self._where(self._lasting)}, {lasted}")
        if present is not None:
            what = _WHAT[present[0].kind]
            lines.append(f"{_time(seconds)}fault begins: {self._where(present)}: {what}")
        self._lasting, self._began = present, seconds
        return lines

    def _where(self, lasting: tuple[Fault, int]) -> str:
        fault, count = lasting
        return f"{fault.kind} on {count} of {len(self._exporters)} exporters"


def _time(seconds: float) -> str:
    # As wide as in the lines about the HPA.
    return f"{f'{seconds:.0f} s':>5}  "
