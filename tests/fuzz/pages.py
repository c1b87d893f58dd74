"""A coverage-guided fuzzer of the path from an exporter's page to values, with atheris.

Atheris is not a dependency of this project; install it separately, and give a duration:

    python -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris --editable .
    /tmp/fuzz/bin/python -m tests.fuzz.pages -max_total_time=600

The arguments are libFuzzer's. The first byte of an input chooses the metric, the rest is the page.
For any page: nothing raises; every value is in range, and from a GPU in the inventory;
the order of the lines does not matter; and time is linear in the page.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

# It has no stubs, and is not in the project's environment.
import atheris  # type: ignore[import-untyped]

from tests.support.data import DATA

with atheris.instrument_imports(include=["metrics_server.sources.exporters"]):
    from metrics_server.sources.exporters.inventory import Inventory
    from metrics_server.sources.exporters.pod_mapper import Attribution, attribute
    from metrics_server.sources.exporters.sheet import Sheet
    from metrics_server.sources.pages.exposition import parse_labels, rows

from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.presets import DIALECTS

# A rule and its _max and _sum have the same readings.
RULES = tuple({rule.readings: rule for rule in reversed(CATALOGUE)}.values())
# A page of one megabyte takes about 30 ms.
SECONDS_PER_BYTE = 2e-6
LEAST_SECONDS = 0.5
_SEED_LINES = 24


def check(data: bytes) -> None:
    """Raise if an invariant fails for this page."""
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
            # A profiling ratio may read 1 % more; the source caps it at the maximum.
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
    # The last line may look like a row, but has no line end.
    if attribute(other, rule.readings) != attribution or other.inventory != inventory:
        raise AssertionError("the order of the lines matters")


def check_inventory(inventory: Inventory, attribution: Attribution) -> None:
    """Raise if there are values for GPUs that do not exist."""
    for pod, gpus in attribution.by_pod.items():
        if any(pod not in inventory.pods[gpu] for gpu in gpus):
            raise AssertionError(f"{pod} has a value, and is not in the inventory")
    if not all(holding.gpus for holding in inventory.by_pod.values()):
        raise AssertionError("a pod without a GPU in the inventory")


def seeds(folder: Path) -> None:
    """Write a small input for each page and metric: the lines that the metric reads."""
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
    """Write the keywords of the format and the readings."""
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
