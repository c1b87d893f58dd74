"""Pages from real exporters, through a whole server: `data/cases.yaml` is the table."""

from contextlib import AsyncExitStack
from typing import TypeAlias

import pytest
from msgspec import Struct, convert

from metrics_server.api.types import format_quantity
from metrics_server.errors import UnknownMetricError
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.gauges import GAUGES
from metrics_server.rules.lookup import Rules
from metrics_server.simulator import manifests
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES
from tests.support import clients, exporters, harness, objects, waiting
from tests.support.data import DATA
from tests.support.documents import load

RULES = Rules(CATALOGUE, GAUGES)

Number: TypeAlias = float | int


class CasePod(Struct, frozen=True, forbid_unknown_fields=True):
    """A pod in a case."""

    pod: str
    app: str
    node: str = "n1"
    gpus: int = 1


class CaseRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A question, and its answer or its error's reason."""

    ask: str
    metric: str
    must: Number | str
    says: str = ""
    shared: bool | None = None


class Case(Struct, frozen=True, forbid_unknown_fields=True):
    """Pages, pods, and questions."""

    case: str
    nodes: dict[str, list[str]]
    pods: list[CasePod]
    rows: list[CaseRow]
    rules: list[dict[str, object]] = []


CASES = convert(load((DATA / "cases.yaml").read_text("utf-8")), list[Case])


def test_every_page_has_a_case() -> None:
    """A page without a question would prove nothing."""
    used = {page for case in CASES for pages in case.nodes.values() for page in pages}
    unused = {path.name for path in (DATA / "pages").iterdir()} - used
    assert unused == {"b-gaudi.prom", "b-neuron.prom", "b-nvidia-smi.prom"}, "these name no pods"


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case.case for case in CASES])
async def test_case(case: Case) -> None:
    """The answer is what the page says; if it says nothing, the error has the right reason."""
    pages = {node: pages[0] for node, pages in case.nodes.items()}
    pods = [
        objects.pod(
            one.pod.partition("/")[2],
            namespace=one.pod.partition("/")[0],
            labels={"app": one.app},
            node=one.node,
            gpus=one.gpus,
        )
        for one in case.pods
    ]
    config = harness.configuration({"rules": case.rules} if case.rules else {})
    async with AsyncExitStack() as stack:
        simulated = await stack.enter_async_context(
            harness.cluster({node: read(page) for node, page in pages.items()}, pods, config)
        )
        more = [(node, page) for node, (_, *others) in case.nodes.items() for page in others]
        for node, page in more:
            exporter = await stack.enter_async_context(exporters.PageExporter(read(page)))
            piece = manifests.endpoint_slice(f"{node}-{exporter.port}", exporter.port)
            piece["endpoints"] = manifests.endpoint_slice(node, exporter.port)["endpoints"]
            simulated.api.apply(ENDPOINT_SLICES, piece)
            await known(simulated, exporter, case.rows[0])
        wrong = []
        for row in case.rows:
            wanted = expected(row)
            answer = await ask(simulated, row)
            got = found(answer)
            if not (got[0] == wanted and row.says in got[1]):
                wrong.append(f"{row.ask} {row.metric}: {got} and not {wanted} {row.says}")
            elif row.shared is not None and answer.status == 200:
                shared = answer.item().metric_labels.get("shared") == "true"
                if shared != row.shared:
                    wrong.append(f"{row.ask} {row.metric}: shared is {shared}")
        assert not wrong, "\n".join(wrong)


async def ask(simulated: harness.Cluster, row: CaseRow) -> clients.Answer:
    """The server's answer to a question in the table."""
    namespace, app = row.ask.split()
    return await simulated.client.metric(namespace, row.metric, f"app={app}")


async def known(simulated: harness.Cluster, exporter: exporters.PageExporter, row: CaseRow) -> None:
    """Wait until the server has scraped an added exporter."""
    await waiting.eventually(lambda: ask(simulated, row), lambda _: exporter.scrapes > 0)


def read(page: str) -> str:
    """A page in the table."""
    return (DATA / "pages" / page).read_text("utf-8")


def expected(row: CaseRow) -> str:
    """The expected quantity, or that there is none."""
    if isinstance(row.must, str):
        return row.must
    try:
        decimals = RULES.find(row.metric).decimals
    except UnknownMetricError:
        decimals = 0
    return format_quantity(row.must, decimals)


def found(answer: clients.Answer) -> tuple[str, str]:
    """The answered quantity, or the kind of the error; and its message."""
    if answer.status == 200:
        return answer.item().value, ""
    message = answer.error().message
    kind = "no-sample" if "gave no value" in message else f"{answer.status}"
    return kind, message
