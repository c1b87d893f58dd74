"""Measures beside each peer and writes the table: `python -m tests.reliability DURATION`."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from metrics_server.commands.flags import duration
from tests.reliability.attacks import Peer
from tests.reliability.driver import ASKED, Row, measure
from tests.reliability.peers import PEERS

_DOCUMENT = Path("docs/reliability.md")
_BEGIN, _END = "<!-- measured -->\n", "<!-- end -->"
_MIB = 1024 * 1024


def main(seconds: float) -> None:
    """Write the table between its markers."""
    lines = [
        f"{seconds:g} s a peer.\n",
        "| Peer | What it does | /livez | discovery | question | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for peer in PEERS:
        with tempfile.TemporaryDirectory() as folder:
            line = _line(peer, asyncio.run(measure(peer, Path(folder), seconds)))
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        lines.append(line)
    before, _, rest = _DOCUMENT.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _DOCUMENT.write_text(before + _BEGIN + "\n" + "\n".join(lines) + "\n\n" + _END + after)


def _line(peer: Peer, row: Row) -> str:
    times = (f"{row.p99[name]:.2f} / {row.longest[name]:.2f} s" for name in ASKED)
    cells = (f"`{peer.name}`", peer.does, *times, f"{row.peak / _MIB:.0f} MiB")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("duration", type=duration, help="of each peer, such as 60s")
    main(parser.parse_args().duration)
