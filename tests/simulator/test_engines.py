"""The simulated engines' and gateway's pages look like recorded ones."""

import re
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from metrics_server.simulator.engines.fleet import MODEL, Fleet
from metrics_server.simulator.engines.pages import Flow, gateway_page, vllm_page
from metrics_server.simulator.engines.traffic import Arrivals, Engine, Traffic
from metrics_server.simulator.gpus.workload import SimulatedPod

ENGINES = Path(__file__).parents[1] / "data" / "engines"
VLLM = vllm_page(Engine(requests=15, finished=20_000_000), MODEL)
FLOWS = {"chat": Flow("chat-pool", 3, held=15, running=51), "code": Flow("code-pool", 0, held=2)}


def shapes(page: str) -> dict[str, tuple[str, set[tuple[str, ...]]]]:
    """The type and ordered label names of each sample on a page."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE))
    found: dict[str, tuple[str, set[tuple[str, ...]]]] = {}
    for name, labels in re.findall(r"^([a-z][\w:]*)\{(.*)\} \S+$", page, re.MULTILINE):
        names = tuple(re.findall(r'(\w+)="', labels))
        found.setdefault(name, (types.get(name, ""), set()))[1].add(names)
    return found


@pytest.mark.parametrize(
    ("page", "recorded"),
    [(VLLM, "vllm-v1-one-engine"), (gateway_page(FLOWS), "epp")],
    ids=["vLLM", "gateway"],
)
def test_a_page_has_the_families_of_the_recorded_one(page: str, recorded: str) -> None:
    """Names, types, and ordered labels; and each family says that it is simulated."""
    real = shapes((ENGINES / f"{recorded}.prom").read_text())
    ours = shapes(page)
    assert ours
    assert ours == {name: real[name] for name in ours}
    helps = [line for line in page.splitlines() if line.startswith("# HELP")]
    assert all("simulated" in line for line in helps)


def test_vllm_reports_its_requests() -> None:
    """Another parser reads them; numbers have the format of vLLM's library."""
    families = {family.name: family for family in text_string_to_metric_families(VLLM)}
    values = {name: family.samples[0].value for name, family in families.items()}
    assert (values["vllm:num_requests_running"], values["vllm:num_requests_waiting"]) == (8, 7)
    assert 'vllm:generation_tokens_total{engine="0",model_name="acme/chat-8b"} 3e+09' in VLLM
    idle = vllm_page(Engine(), MODEL)
    assert shapes(idle) == shapes(VLLM), "every family is there from the start, at 0"


def test_the_gateway_has_a_queue_only_while_requests_wait() -> None:
    """A flow's row disappears with its last request; the page is still the gateway's."""
    page = gateway_page(FLOWS)
    assert re.search(r'^llm_d_epp_flow_control_queue_size\{.*"code".*\} 2$', page, re.MULTILINE)
    assert 'inference_objective_running_requests{model_name="code"}' not in page
    idle = gateway_page({"chat": Flow("chat-pool", 0)})
    assert set(shapes(idle)) == {"llm_d_epp_ready_endpoints", "inference_pool_ready_pods"}


async def read(port: int) -> str:
    """A page, over HTTP."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as response,
    ):
        assert response.status == 200
        return await response.text()


async def test_each_pod_serves_its_own_page() -> None:
    """On the port of its GPU, whose utilization is all or nothing."""
    busy = SimulatedPod("default", "busy", "server", "node", ("GPU-0",), ready=True)
    loading = SimulatedPod("default", "loading", "server", "node", ("GPU-1",), ready=False)
    async with Fleet(Traffic(Arrivals(peak=4, busy=8, quiet=9), 2), ["GPU-0", "GPU-1"]) as fleet:
        fleet.advance(3, [loading])
        waiting = fleet.traffic.held
        assert waiting == 7
        assert re.search(
            r"^llm_d_epp_flow_control_queue_size\{.*\} 7$",
            await read(fleet.gateway_port),
            re.MULTILINE,
        )
        fleet.advance(3.001, [busy, loading])
        assert 'num_requests_running{engine="0",model_name="acme/chat-8b"} 7.0' in await read(
            fleet.port_of(busy)
        )
        assert 'num_requests_running{engine="0",model_name="acme/chat-8b"} 0.0' in await read(
            fleet.port_of(loading)
        )
        assert fleet.shares([busy, loading], 0) == {"busy": 100, "loading": 0}
        assert "flow_control_queue_size" not in await read(fleet.gateway_port)
        fleet.advance(3.002, [])
        assert await read(fleet.port_of(busy)) == "", "its pod is gone"
