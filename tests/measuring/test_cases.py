"""Pages from real exporters, through a whole server: `data/cases.yaml` is the table."""

from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TypeAlias

import pytest
from msgspec import Struct, convert

from metrics_server.api.types import format_quantity
from metrics_server.errors import UnknownMetricError
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.gauges import GAUGES
from metrics_server.rules.lookup import Rules
from metrics_server.simulator import manifests
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, PODS, Object, Resource
from tests.support import clients, exporters, harness, objects, waiting
from tests.support.data import DATA
from tests.support.documents import load

RULES = Rules(CATALOGUE, GAUGES)

Number: TypeAlias = float | int
Exporters: TypeAlias = list[tuple[str, exporters.PageExporter]]


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
RULES_OF_CASES = [case.rules for case in CASES]
# Those with the same configuration.
GROUPS = [
    [case for case in CASES if case.rules == rules]
    for number, rules in enumerate(RULES_OF_CASES)
    if rules not in RULES_OF_CASES[:number]
]


def test_every_page_has_a_case() -> None:
    """A page without a question would prove nothing."""
    used = {page for case in CASES for pages in case.nodes.values() for page in pages}
    unused = {path.name for path in (DATA / "pages").iterdir()} - used
    assert unused == {"b-gaudi.prom", "b-neuron.prom", "b-nvidia-smi.prom"}, "these name no pods"


@pytest.mark.slow
@pytest.mark.parametrize("cases", GROUPS, ids=lambda cases: cases[0].case)
async def test_cases(cases: list[Case]) -> None:
    """The answer is what the page says; if it says nothing, the error has the right reason.

    One server has the cases in turn, each with exporters at addresses of their own. A last pod and
    its exporter show that the server knows the others.
    """
    rules = cases[0].rules
    config = harness.configuration({"rules": rules} if rules else {})
    wrong = []
    async with AsyncExitStack() as stack:
        simulated = await stack.enter_async_context(harness.cluster({}, [], config))
        marked = {("markers", f"marker-{number}"): [0] for number in range(len(cases))}
        marker = await stack.enter_async_context(exporters.PageExporter(exporters.page(marked)))
        for number, case in enumerate(cases):
            served = [
                (node, await stack.enter_async_context(exporters.PageExporter(read(page))))
                for node, pages in case.nodes.items()
                for page in pages
            ]
            mark = f"marker-{number}"
            pods = [*case.pods, CasePod(f"markers/{mark}", app=mark, node=mark)]
            with placed(simulated.api, pods, [*served, (mark, marker)]):
                await known(simulated, mark)
                wrong += [
                    f"{case.case}: {row.ask} {row.metric}: {mistake}"
                    for row in case.rows
                    if (mistake := await checked(simulated, row))
                ]
    assert not wrong, "\n".join(wrong)


@contextmanager
def placed(api: KubernetesAPI, pods: Iterable[CasePod], served: Exporters) -> Iterator[None]:
    """These pods, and the endpoints of the exporters on these nodes, in this order."""
    applied: list[tuple[Resource, Object]] = []
    for one in pods:
        namespace, _, name = one.pod.partition("/")
        labels = {"app": one.app}
        pod = objects.pod(name, namespace=namespace, labels=labels, node=one.node, gpus=one.gpus)
        applied.append((PODS, api.apply(PODS, pod)))
    for node, exporter in served:
        piece = manifests.endpoint_slice(f"{node}-{exporter.port}", exporter.port)
        piece["endpoints"] = manifests.endpoint_slice(node, exporter.port)["endpoints"]
        applied.append((ENDPOINT_SLICES, api.apply(ENDPOINT_SLICES, piece)))
    yield
    for resource, made in applied:
        metadata = made["metadata"]
        assert isinstance(metadata, dict)
        api.delete(resource, str(metadata["namespace"]), str(metadata["name"]))


async def known(simulated: harness.Cluster, app: str) -> None:
    """Wait until the server has measured a marker."""

    async def answer() -> clients.Answer:
        return await simulated.client.metric("markers", "gpu_utilization", f"app={app}")

    await waiting.eventually(answer, lambda one: one.status == 200)


async def checked(simulated: harness.Cluster, row: CaseRow) -> str:
    """What is wrong with the server's answer to a question in the table, if anything."""
    namespace, app = row.ask.split()
    answer = await simulated.client.metric(namespace, row.metric, f"app={app}")
    wanted, got = expected(row), found(answer)
    if not (got[0] == wanted and row.says in got[1]):
        return f"{got} and not {wanted} {row.says}"
    if row.shared is not None and answer.status == 200:
        shared = answer.item().metric_labels.get("shared") == "true"
        if shared != row.shared:
            return f"shared is {shared}"
    return ""


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
