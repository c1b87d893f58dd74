"""Counts fixed pieces of work, and compares them with the recorded counts: `make counts`."""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from metrics_server.telemetry import logs
from tests.bench.counts.comparing import RECORDED, markdown, read, report, write
from tests.bench.counts.counting import Counts
from tests.bench.counts.registry import count_all
from tests.bench.document import write_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 1 if a count differs too much, 3 if none is recorded."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.counts", description=__doc__)
    parser.add_argument(
        "--write",
        action="store_true",
        help="record the counts, and write them into docs/performance.md",
    )
    parser.add_argument("--recorded", type=Path, default=RECORDED, help="the file of the counts")
    chosen = parser.parse_args(arguments)
    version = ".".join(platform.python_version_tuple()[:2])
    recorded = read(chosen.recorded).get(version)
    counted = {}

    def is_recorded(name: str, counts: Counts) -> bool:
        return recorded is not None and not report(name, recorded.get(name), counts)

    for name, counts in count_all(is_recorded):
        counted[name] = counts
        figures = ", ".join(f"{count:,} {what}" for what, count in counts.figures.items())
        sys.stdout.write(f"{name}: {figures}\n")
        sys.stdout.flush()
    if chosen.write:
        write(counted, version, chosen.recorded)
        if chosen.recorded == RECORDED:
            write_table("counts", markdown(read()))
        return 0
    if recorded is None:
        sys.stdout.write(f"nothing is recorded for Python {version}\n")
        return 3
    reports = [report(name, recorded.get(name), now) for name, now in counted.items()]
    found = [one for one in reports if one]
    sys.stdout.write("\n".join(["", *found, ""] if found else ["as recorded, within 5 %\n"]))
    return 1 if found else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Otherwise the order of sets would differ between runs.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.bench.counts", *sys.argv[1:]])  # noqa: S606
    logs.configure("error")
    sys.exit(main())
