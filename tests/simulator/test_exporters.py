"""Simulated exporters serve realistic pages, and fail as real ones do."""

import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from metrics_server.simulator.faults import Fault
from metrics_server.simulator.gpus.exporters import (
    FAMILIES,
    Observation,
    PageFormat,
    SimulatedExporter,
    render_page,
    simulated_node,
)
from metrics_server.simulator.gpus.workload import A100, Load, SimulatedPod, gpu_states
from tests.support.data import EXPORTERS

REAL_PAGES: dict[PageFormat, Path] = {
    "3.x": EXPORTERS / "dcgm-3.x-8gpu-multi-pod.prom",
    "4.8.3+": EXPORTERS / "dcgm-4.x-8gpu.prom",
}
FORMATS: tuple[PageFormat, ...] = ("3.x", "4.8.3+")
POD_LABELS = {"container", "namespace", "pod"}

NODE = simulated_node("gpu-node-1", A100, 4)


def observe(now: float = 12) -> Observation:
    """Two pods on the node, with two GPUs and one; the fourth GPU is idle."""
    uuids = [gpu.uuid for gpu in NODE.gpus]
    pods = (
        SimulatedPod("default", "inference-1", "server", NODE.name, tuple(uuids[:2]), ready=True),
        SimulatedPod("team-b", "inference-2", "server", NODE.name, (uuids[2],), ready=True),
    )
    return Observation(gpu_states(Load(seed=3), A100, uuids, pods, now), pods)


def rows(page: str) -> Iterator[tuple[str, list[tuple[str, str]], str]]:
    """Each row of a page as its family, ordered labels and value as text."""
    for line in page.splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
            assert match, line
            yield match[1], re.findall(r'(\w+)="([^"]*)"', match[2]), match[3]


@pytest.mark.parametrize("page_format", FORMATS)
def test_the_page_agrees_with_the_state_it_is_made_from(page_format: PageFormat) -> None:
    """Another parser reads back every value, identity and pod."""
    seen = observe()
    holder = {uuid: pod for pod in seen.pods for uuid in pod.gpus}
    page = render_page(NODE, page_format, seen)
    families = {f.name: f for f in text_string_to_metric_families(page)}
    assert set(families) == {f.name for f in FAMILIES}
    for family in FAMILIES:
        parsed = families[family.name]
        assert parsed.type == "gauge"
        assert "simulated" in parsed.documentation
        assert len(parsed.samples) == len(NODE.gpus)
        for sample in parsed.samples:
            uuid = sample.labels["UUID"]
            assert sample.value == pytest.approx(family.read(seen.states[uuid]), abs=1e-6)
            pod = holder.get(uuid)
            if pod is None:
                assert not POD_LABELS & set(sample.labels)
            else:
                assert sample.labels["pod"] == pod.name
                assert sample.labels["namespace"] == pod.namespace
                assert sample.labels["container"] == pod.container


@pytest.mark.parametrize("page_format", FORMATS)
def test_the_labels_and_their_order_are_those_of_a_real_page(page_format: PageFormat) -> None:
    """GPUs with and without a pod have a real page's label names, in order."""
    real = list(rows(REAL_PAGES[page_format].read_text()))
    # Labels between the driver's version and the container come from the pods' own
    # labels; the simulated exporter has that option off, which is the default.
    driver = "DCGM_FI_DRIVER_VERSION"

    def names(labels: list[tuple[str, str]]) -> tuple[str, ...]:
        found = [name for name, _ in labels]
        at = found.index(driver) + 1
        rest = [name for name in found[at:] if name in POD_LABELS]
        return (*found[:at], *rest)

    wanted = {names(labels) for family, labels, _ in real if family == "DCGM_FI_DEV_GPU_UTIL"}
    page = render_page(NODE, page_format, observe())
    for _, labels, _ in rows(page):
        assert tuple(name for name, _ in labels) in wanted
    assert len({len(labels) for _, labels, _ in rows(page)}) == len(wanted) == 2


@pytest.mark.parametrize("page_format", FORMATS)
def test_families_and_rows_come_in_the_order_of_a_real_page(page_format: PageFormat) -> None:
    """3.x follows its list of counters and the index; 4.8.3 and later sort by name and UUID."""
    ours = {family.name for family in FAMILIES}
    heads = [
        [
            line
            for line in page.splitlines()
            if line.startswith("# TYPE") and line.split()[2] in ours
        ]
        for page in (
            REAL_PAGES[page_format].read_text(),
            render_page(NODE, page_format, observe()),
        )
    ]
    assert heads[0] == heads[1]

    page = render_page(NODE, page_format, observe())
    real = REAL_PAGES[page_format].read_text()
    key = "gpu" if page_format == "3.x" else "UUID"
    for text in (real, page):
        order = [dict(labels)[key] for f, labels, _ in rows(text) if f == "DCGM_FI_DEV_GPU_UTIL"]
        assert order == sorted(order)


@pytest.mark.parametrize("page_format", FORMATS)
def test_numbers_are_written_as_on_a_real_page(page_format: PageFormat) -> None:
    """3.x prints floats with six decimals; 4.8.3 and later, in the shortest form."""
    forms = {
        "3.x": {"float": r"\d+\.\d{6}", "int": r"\d+"},
        "4.8.3+": {"float": r"\d+(\.\d*[1-9])?", "int": r"\d+"},
    }[page_format]
    floats = {"DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_PROF_GR_ENGINE_ACTIVE"}
    ours = {family.name for family in FAMILIES}
    for text in (REAL_PAGES[page_format].read_text(), render_page(NODE, page_format, observe())):
        for family, _, value in rows(text):
            if family in ours:
                form = forms["float" if family in floats else "int"]
                assert re.fullmatch(form, value), (family, value)


def test_an_idle_gpu_of_the_newer_format_reads_plain_zero() -> None:
    """The shortest form of 0 has no decimal point, as on the real page."""
    idle = NODE.gpus[3].uuid
    page = render_page(NODE, "4.8.3+", observe())
    values = {f: v for f, labels, v in rows(page) if dict(labels)["UUID"] == idle}
    assert values["DCGM_FI_PROF_GR_ENGINE_ACTIVE"] == "0"


def test_nodes_have_identities_of_their_own() -> None:
    """The same name gives the same UUIDs, another name gives others."""
    again, other = simulated_node("gpu-node-1", A100, 4), simulated_node("gpu-node-2", A100, 4)
    assert again == NODE
    assert not {g.uuid for g in other.gpus} & {g.uuid for g in NODE.gpus}


@pytest.fixture
async def exporter() -> AsyncIterator[SimulatedExporter]:
    """A running exporter."""
    async with SimulatedExporter(NODE, "3.x", observe) as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A client with persistent connections, like a scraper's."""
    async with aiohttp.ClientSession() as session:
        yield session


async def test_the_page_is_served(
    exporter: SimulatedExporter, client: aiohttp.ClientSession
) -> None:
    """A scrape gets the current page, as text."""
    async with client.get(exporter.url) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert await response.text() == render_page(NODE, "3.x", observe())
    assert exporter.scrapes == 1


async def test_each_scrape_observes_again() -> None:
    """The page changes with the observations."""
    moments = iter([0.0, 60.0])
    async with (
        SimulatedExporter(NODE, "3.x", lambda: observe(next(moments))) as exporter,
        aiohttp.ClientSession() as client,
    ):
        pages = []
        for _ in range(2):
            async with client.get(exporter.url) as response:
                pages.append(await response.text())
    assert pages[0] != pages[1]


async def test_down_refuses_connections_and_comes_back_on_its_port(
    exporter: SimulatedExporter, client: aiohttp.ClientSession
) -> None:
    """Kept connections are closed, and the address stays the same."""
    url = exporter.url
    async with client.get(url) as response:
        await response.read()
    await exporter.set_fault(Fault("down"))
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get(url)
    await exporter.set_fault(None)
    async with client.get(url) as response:
        assert response.status == 200
    assert exporter.url == url


async def test_slow_answers_late(
    exporter: SimulatedExporter, client: aiohttp.ClientSession
) -> None:
    """The page is right, but arrives after the given seconds."""
    await exporter.set_fault(Fault("slow", seconds=0.2))
    start = time.monotonic()
    async with client.get(exporter.url) as response:
        page = await response.text()
    assert time.monotonic() - start >= 0.2
    assert page == render_page(NODE, "3.x", observe())


async def test_closing_does_not_wait_for_a_slow_answer(client: aiohttp.ClientSession) -> None:
    """A demo can end at any time."""
    exporter = SimulatedExporter(NODE, "3.x", observe)
    await exporter.start()
    await exporter.set_fault(Fault("slow", seconds=600))
    with pytest.raises(TimeoutError):
        await client.get(exporter.url, timeout=aiohttp.ClientTimeout(total=0.1))
    start = time.monotonic()
    await exporter.close()
    assert time.monotonic() - start < 5


async def test_error_answers_500(
    exporter: SimulatedExporter, client: aiohttp.ClientSession
) -> None:
    """Like 4.8.3 and later if the data are bad."""
    await exporter.set_fault(Fault("error"))
    async with client.get(exporter.url) as response:
        assert response.status == 500
        assert "# TYPE" not in await response.text()


async def test_garbage_is_no_text(
    exporter: SimulatedExporter, client: aiohttp.ClientSession
) -> None:
    """It is declared as text and cannot be decoded."""
    await exporter.set_fault(Fault("garbage"))
    async with client.get(exporter.url) as response:
        assert response.status == 200
        body = await response.read()
    with pytest.raises(UnicodeDecodeError):
        body.decode("utf-8")


async def test_unlabelled_names_no_pods(
    exporter: SimulatedExporter, client: aiohttp.ClientSession
) -> None:
    """As with DCGM_EXPORTER_KUBERNETES off: the same values without pods."""
    await exporter.set_fault(Fault("unlabelled"))
    async with client.get(exporter.url) as response:
        page = await response.text()
    labelled = render_page(NODE, "3.x", observe())
    assert [value for _, _, value in rows(page)] == [value for _, _, value in rows(labelled)]
    assert not any(POD_LABELS & {name for name, _ in labels} for _, labels, _ in rows(page))


async def test_a_fault_ends(exporter: SimulatedExporter, client: aiohttp.ClientSession) -> None:
    """After any fault, the page is right again."""
    faults = (Fault("error"), Fault("garbage"), Fault("down"), Fault("unlabelled"))
    for fault in faults:
        await exporter.set_fault(fault)
        assert exporter.fault == fault
        await exporter.set_fault(None)
        async with client.get(exporter.url) as response:
            assert await response.text() == render_page(NODE, "3.x", observe())
