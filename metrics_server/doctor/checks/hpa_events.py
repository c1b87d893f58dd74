"""The Warning events of the HPA."""

from collections.abc import Sequence

from metrics_server.common.text import counted, printable
from metrics_server.doctor.hpa import Event
from metrics_server.doctor.model import Check, Verdict
from metrics_server.doctor.reader import Reader

_MOST = 5


async def _run(reader: Reader) -> Verdict:
    return judge(await reader.events())


def judge(events: Sequence[Event]) -> Verdict:
    """Show the Warning events, the latest first, each reason and message once."""
    warnings = sorted(
        (one for one in events if one.type == "Warning"),
        key=lambda one: one.last_timestamp or "",
        reverse=True,
    )
    found: dict[str, str] = {}
    for one in warnings:
        found.setdefault(f"{one.reason}: {printable(one.message, 300)}", one.last_timestamp or "")
    if not found:
        return Verdict("no Warning events")
    notes = [f"{printable(at, 40)} {text}".strip() for text, at in found.items()]
    return Verdict(counted(len(found), "Warning event"), notes=tuple(notes[:_MOST]))


CHECK = Check(
    name="hpa-events",
    about="Which Warning events does the HPA have?",
    finds=(),
    run=_run,
    scope="hpa",
)
