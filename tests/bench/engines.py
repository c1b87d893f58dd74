"""Answers from the pods' own pages: a hundred inference engines, each slow to respond."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from metrics_server.simulator import manifests
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, PODS, Object
from metrics_server.simulator.kube.trust import SimulatedTrust
from tests.bench import Figure, process, uvloop_runner
from tests.bench.pages import Pages
from tests.bench.serving import (
    SCRAPE_SECONDS,
    cold_p99,
    connections,
    front_proxy_certificate,
    load,
    slowest_scrape,
    started,
)
from tests.support.exporters import PageExporter, page
from tests.support.objects import pod

_PODS = 100
_CONNECTIONS = 5
_PAGE = Path(__file__).parents[1] / "data" / "engines" / "vllm-v1-dp2.prom"
_WARM_ROUNDS = 30
_COLD_ROUNDS = 7
_EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"
_QUEUE = f"{_EXTERNAL}/llm_requests_waiting?labelSelector=app%3Dinference"
_GPU = f"{_EXTERNAL}/gpu_utilization?labelSelector=app%3Dinference"


def run(*, reduced: bool = False) -> list[Figure]:
    """Measure answers from fresh pages, and warm ones."""
    with uvloop_runner() as runner:
        if reduced:
            return runner.run(_measure(1, 1))
        return runner.run(_measure(_WARM_ROUNDS, _COLD_ROUNDS))


async def _measure(warm_rounds: int, cold_rounds: int) -> list[Figure]:
    async with process(_cluster) as (api, certificate, *pages):
        async with (
            process(_server, api, "1h") as (url,),
            connections(url, certificate, _CONNECTIONS) as asking,
        ):
            rates: list[float] = []
            tails: list[float] = []
            for _ in range(warm_rounds):
                of_gpus, of_pages = await load(asking, _GPU), await load(asking, _QUEUE)
                rates.append(of_pages.rate / of_gpus.rate)
                tails.append(of_pages.p99 / of_gpus.p99)
        async with process(_server, api, "1ms") as (url,):
            cold = [
                await cold_p99(url, certificate, _QUEUE) / await slowest_scrape(pages)
                for _ in range(cold_rounds)
            ]
    of = f"over {_PODS} pods' own pages"
    gpu = "a GPU metric over the same pods"
    return [
        Figure(f"throughput of warm answers {of}", median(rates) * 100, "%", against=gpu),
        Figure(f"p99 of warm answers {of}", median(tails), "times", against=gpu),
        Figure(
            f"p99 of answers that scrape {_PODS} pods' own pages",
            median(cold),
            "times",
            against="the slowest of as many scrapes made at once",
            at_most=3,
        ),
    ]


async def _cluster(stack: AsyncExitStack, /, *_: str) -> list[str]:
    """A Kubernetes API, its front proxy's certificate, and the pods' pages."""
    api = await stack.enter_async_context(KubernetesAPI())
    certificate = await front_proxy_certificate(stack, SimulatedTrust(api))
    names = [f"vllm-{number}" for number in range(_PODS)]
    busy = page({("default", name): [50] for name in names})
    exporter = await stack.enter_async_context(PageExporter(busy))
    api.apply(ENDPOINT_SLICES, manifests.endpoint_slice("gpu-0", exporter.port))
    urls: list[str] = []
    body = await asyncio.to_thread(_PAGE.read_bytes)

    pages = Pages(stack, lambda _: body, SCRAPE_SECONDS)
    for name in names:
        port = await pages.listen("127.0.0.1")
        api.apply(PODS, _serving(name, port))
        urls.append(f"http://127.0.0.1:{port}/metrics")
    return [api.url, str(certificate), *urls]


def _serving(name: str, port: int) -> Object:
    made = pod(name)
    assert isinstance(made["metadata"], dict)
    assert isinstance(made["status"], dict)
    made["metadata"]["annotations"] = {"prometheus.io/port": str(port)}
    made["status"]["podIP"] = "127.0.0.1"
    return made


async def _server(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    api, max_age = arguments
    config = {
        "exporters": {"maxAge": max_age},
        "podPages": {"networks": ["127.0.0.0/8"]},
        "fallback": {"chain": ["error"], "minCoverage": 1.0},
    }
    return [(await started(stack, api, config)).url]
