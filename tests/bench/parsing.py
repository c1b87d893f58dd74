"""One family of an 8-GPU page, against prometheus_client's parser of the text format."""

from collections.abc import Callable

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from metrics_server.sources.exporters.pod_mapper import attribute
from metrics_server.sources.exporters.sheet import Sheet
from metrics_server.sources.pages.exposition import parse_labels, rows
from tests.bench import PAIRS, Figure, times_faster
from tests.support.data import EXPORTERS

PAGE = EXPORTERS / "dcgm-3.x-8gpu-multi-pod.prom"
RULE = Rules(CATALOGUE).find("gpu_utilization")
FAMILY = RULE.readings[0].family
THEIRS = "prometheus_client's parser"


def run(*, reduced: bool = False) -> list[Figure]:
    """Measure parsing one family, and the whole attribution for a rule."""
    pairs = 1 if reduced else PAIRS
    page = PAGE.read_bytes()

    def theirs() -> list[Metric]:
        families = text_string_to_metric_families(page.decode())
        return [family for family in families if family.name == FAMILY]

    def exposition() -> list[tuple[object, float]]:
        return [(parse_labels(row.labels), row.value) for row in rows(page, FAMILY)]

    def attribution() -> object:
        return attribute(Sheet(page), RULE.readings)

    def inventory() -> object:
        sheet = Sheet(page)
        return attribute(sheet, RULE.readings), sheet.inventory

    def speed(name: str, ours: Callable[[], object], at_least: float | None = None) -> Figure:
        times = times_faster(ours, theirs, pairs)
        return Figure(f"speed of {name}", times, "times", against=THEIRS, at_least=at_least)

    page_of = f"an 8-GPU page of {len(page) / 1024:.1f} KiB"
    return [
        speed(f"reading one family of {page_of}, with labels", exposition, at_least=50),
        speed(f"{RULE.name} of {page_of}, attributed to pods", attribution),
        speed(f"{RULE.name} of {page_of}, where all of its rows are needed", inventory),
    ]
