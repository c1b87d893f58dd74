"""One family of an 8-GPU page, against prometheus_client's parser of the text format."""

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.model import Rules
from metrics_server.sources.exporters.pod_mapper import attribute
from metrics_server.sources.exporters.sheet import Sheet
from metrics_server.sources.pages.exposition import parse_labels, rows
from tests.bench import Figure, times_faster
from tests.support.data import EXPORTERS

PAGE = EXPORTERS / "dcgm-3.x-8gpu-multi-pod.prom"
RULE = Rules(CATALOGUE).find("gpu_utilization")
FAMILY = RULE.readings[0].family
UNIT = "times as fast as prometheus_client's parser"


def run() -> list[Figure]:
    """Measure the parse of one family, and the whole attribution of a rule."""
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

    size = f"of a page of {len(page) / 1024:.1f} KiB"
    return [
        Figure(f"one family {size}, with labels", times_faster(exposition, theirs), UNIT),
        Figure(f"{RULE.name} {size}, attributed to pods", times_faster(attribution, theirs), UNIT),
        Figure("the same, where all rows are needed", times_faster(inventory, theirs), UNIT),
    ]
