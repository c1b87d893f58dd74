"""Measures scenarios, prints one table and writes it as JSON: `make bench ARGS="warm scale"`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from metrics_server.telemetry import logs
from tests.bench import SkippedError
from tests.bench.document import write_table
from tests.bench.machine import this_machine
from tests.bench.registry import SCENARIOS
from tests.bench.report import Row, Run, markdown, print_table, read_json, write_json


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; default: all"
    )
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="the file to write")
    parser.add_argument("--reduced", action="store_true", help="only try that everything runs")
    parser.add_argument("--read", type=Path, help="print the run in this file instead of measuring")
    parser.add_argument(
        "--write-docs", action="store_true", help="write the table of docs/performance.md"
    )
    chosen = parser.parse_args(arguments)
    names: list[str] = chosen.scenarios or [*SCENARIOS]
    if unknown := [name for name in names if name not in SCENARIOS]:
        parser.error(f"no scenario is named {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    if chosen.write_docs and chosen.reduced:
        parser.error("--write-docs: a reduced run is not a measurement")
    if chosen.read:
        run = read_json(chosen.read)
    else:
        run = measure(names, chosen.json, reduced=chosen.reduced)
    print_table(run)
    if chosen.write_docs:
        measured = {row.scenario for row in run.rows} | set(run.skipped)
        if missing := [name for name in SCENARIOS if name not in measured]:
            parser.error(f"--write-docs: this run is without {', '.join(missing)}")
        write_table("measured", markdown(run))


def measure(names: Sequence[str], path: Path, *, reduced: bool) -> Run:
    """Measure these scenarios in turn; write each to a file before the next begins."""
    machine = this_machine()
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    for name in names:
        sys.stderr.write(f"measuring {name} ...\n")
        try:
            figures = SCENARIOS[name](reduced=reduced)
        except SkippedError as error:
            skipped[name] = str(error)
        else:
            rows.extend(Row(name, figure) for figure in figures)
        write_json(Run(machine, rows, skipped), path)
    return Run(machine, rows, skipped)


if __name__ == "__main__":
    logs.configure("error")
    main()
