"""A coverage-guided fuzzer of the way from an exporter's page to values, with atheris.

Atheris is no dependency of this project; install it beside, and say how long it is to run:

    python -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris --editable .
    /tmp/fuzz/bin/python -m tests.fuzz.pages -max_total_time=600

The arguments are libFuzzer's. The first byte of an input chooses the metric, the rest is the page.
What must hold of any page: nothing raises; every value is in range, and of a GPU that the inventory
has; the order of the lines does
not matter; and time is linear in the page.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

# No stubs, and not there in the project's own environment.
import atheris  # type: ignore[import-untyped]

from tests.support.data import DATA

with atheris.instrument_imports(include=["metrics_server.sources.exporters"]):
    from metrics_server.sources.exporters.inventory import Inventory
    from metrics_server.sources.exporters.pod_mapper import Attribution, attribute
    from metrics_server.sources.exporters.sheet import Sheet
    from metrics_server.sources.pages.exposition import parse_labels, rows

from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.presets import DIALECTS

# The readings of a rule and of its _max and _sum are the same.
RULES = tuple({rule.readings: rule for rule in reversed(CATALOGUE)}.values())
# A page of a megabyte takes some 30 ms.
SECONDS_PER_BYTE = 2e-6
LEAST_SECONDS = 0.5
_SEED_LINES = 24


def check(data: bytes) -> None:
    """Raise if something does not hold of this page."""
    if not data:
        return
    rule, page = RULES[data[0] % len(RULES)], data[1:]
    began = time.process_time()
    attribution = attribute(Sheet(page), rule.readings)
    Sheet(page).inventory  # noqa: B018 - what it takes is what is of interest
    took = time.process_time() - began
    if took > LEAST_SECONDS + SECONDS_PER_BYTE * len(page):
        raise AssertionError(f"{took:.2f} s for {len(page)} bytes")
    for gpus in attribution.by_pod.values():
        if not gpus:
            raise AssertionError("a pod without a GPU")
        for value in gpus.values():
            # 1 % more is what a profiling ratio may read; the source holds it to the maximum.
            if not 0 <= value <= rule.maximum * 1.01:
                raise AssertionError(f"{value} is out of the range of {rule.name}")
    sheet = Sheet(page)
    inventory = sheet.inventory
    check_inventory(inventory, attribution)
    for reading in rule.readings:
        sheet.parts(reading)
        for row in rows(page, reading.family):
            parse_labels(row.labels)
    *lines, cut_short = page.split(b"\n")
    random.Random(len(page)).shuffle(lines)  # noqa: S311 - nothing is to be secret
    shuffled = b"\n".join([*lines, cut_short])
    other = Sheet(shuffled)
    # The last line may be a row by its labels, and has no end to be one.
    if attribute(other, rule.readings) != attribution or other.inventory != inventory:
        raise AssertionError("the order of the lines matters")


def check_inventory(inventory: Inventory, attribution: Attribution) -> None:
    """Raise if there are values of what there is not."""
    for pod, gpus in attribution.by_pod.items():
        if any(pod not in inventory.pods[gpu] for gpu in gpus):
            raise AssertionError(f"{pod} has a value, and is not in the inventory")
    if not all(holding.gpus for holding in inventory.by_pod.values()):
        raise AssertionError("a pod without a GPU in the inventory")


def seeds(folder: Path) -> None:
    """Write a small input for each page and each metric: what lines of it the metric reads."""
    for path in sorted(DATA.glob("*/*.prom")):
        page = path.read_bytes()
        for index, rule in enumerate(RULES):
            families = {
                name.encode()
                for reading in rule.readings
                for name in (reading.family, *reading.divided_by)
            }
            lines = [
                line
                for line in page.splitlines(keepends=True)
                if any(family in line.partition(b"{")[0] for family in families)
            ]
            kept = b"".join(lines[:: max(1, len(lines) // _SEED_LINES)])
            (folder / f"{path.stem}-{rule.name}").write_bytes(bytes([index]) + kept)


def dictionary(path: Path) -> None:
    """Write the words that the format and the readings are made of."""
    words = {
        "{",
        "}",
        '"',
        ",",
        "=",
        "\\\\",
        "\\n",
        " 0\\n",
        " 100\\n",
        " NaN\\n",
        " 2147483632\\n",
    }
    for dialect in DIALECTS:
        words |= {*dialect.marks, *dialect.gpu, *dialect.hosts, *dialect.markers, *dialect.units}
        words |= {dialect.namespace, dialect.pod}
    for rule in RULES:
        words |= {reading.family for reading in rule.readings}
    quoted = (word.replace('"', '\\"').replace("\\n", "\\x0a") for word in sorted(words))
    path.write_text("".join(f'"{word}"\n' for word in quoted), encoding="ascii")


def main() -> None:
    """Run libFuzzer with the arguments of the command line."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-pages-"))
    corpus, words = folder / "corpus", folder / "words"
    corpus.mkdir()
    seeds(corpus)
    dictionary(words)
    arguments = [f"-dict={words}", "-max_len=16384", f"-artifact_prefix={folder}/", str(corpus)]
    atheris.Setup([*sys.argv, *arguments], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
