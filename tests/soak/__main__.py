"""Runs the soak, prints its report, and exits with 1 if the server failed."""

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from metrics_server.commands.flags import duration
from tests.bench import uvloop_runner
from tests.soak.report import Record, text
from tests.soak.run import Plan, soak


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    folder = Path(tempfile.gettempdir())
    parser.add_argument("--duration", type=duration, default=3600, help="such as 90s, 5m, 1h")
    parser.add_argument("--seed", type=int, help="repeats the faults of a run")
    parser.add_argument("--rate", type=float, default=12, help="questions a second")
    parser.add_argument("--report", type=Path, help="a file for the report, written each minute")
    parser.add_argument("--log", type=Path, default=folder / "soak.log", help="the server's log")
    given = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    sys.stdout.write(f"Seed {seed}; the server's log is in {given.log}.\n")
    sys.stdout.flush()

    def tell(record: Record) -> None:
        if given.report:
            given.report.write_text(text(record))

    with uvloop_runner() as runner:
        record = runner.run(soak(Plan(given.duration, seed, given.rate), given.log, tell))
    tell(record)
    sys.stdout.write(text(record))
    return 1 if record.failures else 0


if __name__ == "__main__":
    sys.exit(main())
