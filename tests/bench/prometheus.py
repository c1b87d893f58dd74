"""Answers from a real Prometheus: 300 HPAs in thirty namespaces, every 15 s; and their age.

Skipped where no Prometheus is installed.
"""

import asyncio
import os
import shutil
import ssl
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import mean, quantiles

import aiohttp
from aiohttp import web
from msgspec import Struct

from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import PODS
from metrics_server.simulator.kube.trust import SimulatedTrust
from tests.bench import Figure, SkippedError, process, uvloop_runner
from tests.bench.serving import connection, front_proxy_certificate, started
from tests.support.exporters import PageExporter, page
from tests.support.harness import cluster, configuration
from tests.support.objects import pod
from tests.support.prometheus import Prometheus, running_beside

_HPAS, _NAMESPACES, _PODS_OF_HPA = 300, 30, 4
_GPUS_OF_NODE = 8
# So that the steps fall at all times between two scrapes.
_GOLDEN = 0.618
_PATH = "/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/gpu_utilization?labelSelector=app%3D{}"
_QUERIES = "gpu_metrics_server_prometheus_query_duration_seconds_count"
_AGES = "gpu_metrics_server_sample_age_seconds"


class _Plan(Struct, frozen=True):
    """How long to measure.

    Attributes:
        rounds: how often every HPA asks.
        sync_seconds: the time between two rounds.
        steps: how many steps at an exporter; the first is not measured.
        scrape_seconds: the time between two scrapes of Prometheus.
    """

    rounds: int
    sync_seconds: float
    steps: int
    scrape_seconds: int


_FULL = _Plan(rounds=3, sync_seconds=15, steps=9, scrape_seconds=15)
_REDUCED = _Plan(rounds=1, sync_seconds=2, steps=2, scrape_seconds=1)


def run(*, reduced: bool = False) -> list[Figure]:
    """Measure answers from a Prometheus, and their age."""
    if shutil.which("prometheus") is None and "PROMETHEUS" not in os.environ:
        raise SkippedError("Prometheus is not installed")
    plan = _REDUCED if reduced else _FULL
    with uvloop_runner() as runner:
        return [*runner.run(_measure(plan)), *runner.run(_lags(plan))]


async def _lags(plan: _Plan) -> list[Figure]:
    """How long an answer takes to show a step at an exporter: directly, and from Prometheus."""
    figures: list[Figure] = []
    uses = ("named", "only")
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in uses]
        found = await asyncio.gather(*map(partial(_lags_of, plan), uses, folders))
    for use, lags in zip(uses, found, strict=True):
        scraping = f"Prometheus, scraping every {plan.scrape_seconds} s"
        of = {"named": "an exporter, scraped on demand", "only": scraping}
        until = f"time until an answer from {of[use]}, shows a step"
        figures.append(Figure(f"mean {until}", mean(lags), "s"))
        figures.append(Figure(f"longest {until}", max(lags), "s"))
    return figures


async def _lags_of(plan: _Plan, use: str, folder: Path) -> list[float]:
    """Ask every 0.1 s; the steps fall at different times between two scrapes."""
    lags: list[float] = []
    async with PageExporter(page({("default", "a"): [0]})) as exporter:
        job = {
            "job_name": "dcgm",
            "honor_labels": True,
            "scrape_interval": f"{plan.scrape_seconds}s",
            "static_configs": [{"targets": [f"127.0.0.1:{exporter.port}"]}],
        }
        async with running_beside(Prometheus(folder, scrape=[job], environment={})) as prometheus:
            config = configuration({"prometheus": {"url": prometheus.url, "use": use}})
            async with cluster({}, [pod("a")], config, [exporter.url]) as made:
                for number in range(plan.steps):
                    value = number % 2 * 50 + 25
                    exporter.page = page({("default", "a"): [value]})
                    began = time.monotonic()
                    step: float | None = None
                    pause = number * _GOLDEN % 1 * plan.scrape_seconds
                    # Asked continuously, as by many HPAs.
                    while step is None or time.monotonic() < began + step + pause:
                        answer = await made.client.metric("default", "gpu_utilization")
                        shows = answer.status == 200 and answer.item().value == str(value)
                        if step is None and shows:
                            step = time.monotonic() - began
                        await asyncio.sleep(0.1)
                    lags.append(step)
    # Prometheus' first scrape is not a step.
    return lags[1:]


def _pods(hpas: int) -> list[tuple[str, str, str, str]]:
    """The namespace, name, app and node of each pod."""
    found: list[tuple[str, str, str, str]] = []
    for hpa in range(hpas):
        for number in range(_PODS_OF_HPA):
            node = len(found) // _GPUS_OF_NODE
            namespace = f"team-{hpa % _NAMESPACES}"
            found.append((namespace, f"app-{hpa}-{number}", f"app-{hpa}", f"gpu-{node}"))
    return found


async def _measure(plan: _Plan) -> list[Figure]:
    took: list[float] = []
    async with (
        process(cluster_of, str(plan.scrape_seconds), str(_HPAS)) as (api, certificate, prometheus),
        process(server_of, api, prometheus) as (url,),
        connection(url, certificate) as ask,
        _metrics(url, certificate) as read,
    ):
        paths = [path_of(hpa) for hpa in range(_HPAS)]
        await ask(paths[0])
        before = await read()
        began = time.monotonic()
        for number in range(plan.rounds):
            for place, path in enumerate(paths):
                due = began + plan.sync_seconds * (number + place / _HPAS)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                took.append(await ask(path) * 1000)
        seconds = time.monotonic() - began
        after = await read()

    def grown(name: str) -> float:
        return after[name] - before[name]

    cuts = quantiles(took, n=100)
    of = f"from a Prometheus, {_HPAS} HPAs every {plan.sync_seconds:g} s"
    return [
        Figure(f"p50 of answers {of}", cuts[49], "ms"),
        Figure(f"p99 of answers {of}", cuts[98], "ms"),
        Figure(f"queries for answers {of}", grown(_QUERIES) / seconds, "per second"),
        Figure(
            f"mean age of the samples in answers {of}, scraped every {plan.scrape_seconds} s",
            grown(f"{_AGES}_sum") / grown(f"{_AGES}_count"),
            "s",
        ),
    ]


@asynccontextmanager
async def _metrics(
    url: str, certificate: str
) -> AsyncIterator[Callable[[], Awaitable[Mapping[str, float]]]]:
    """Reads the server's own metrics, each summed over its labels."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(certificate)
    headers = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def read() -> Mapping[str, float]:
            async with session.get(f"{url}/metrics", ssl=context) as response:
                text = await response.text()
            found: dict[str, float] = defaultdict(float)
            for line in text.splitlines():
                if not line.startswith("#"):
                    name, _, value = line.rpartition(" ")
                    found[name.partition("{")[0]] += float(value)
            return found

        yield read


def path_of(hpa: int) -> str:
    """The request for the External metric of an HPA."""
    return _PATH.format(f"team-{hpa % _NAMESPACES}", f"app-{hpa}")


async def cluster_of(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    """A Kubernetes API, its front proxy's certificate, and a Prometheus with all nodes.

    The arguments are the seconds between two scrapes, and the number of HPAs.
    """
    scrape_seconds, hpas = map(int, arguments)
    api = await stack.enter_async_context(KubernetesAPI())
    certificate = await front_proxy_certificate(stack, SimulatedTrust(api))
    rows: dict[str, list[str]] = {}
    for place, (namespace, name, app, node) in enumerate(_pods(hpas)):
        api.apply(PODS, pod(name, namespace=namespace, labels={"app": app}, node=node))
        gpu = place % _GPUS_OF_NODE
        labels = f'gpu="{gpu}",UUID="GPU-{place}",Hostname="{node}"'
        of_pod = f'namespace="{namespace}",pod="{name}"'
        rows.setdefault(node, []).extend(
            f"{family}{{{labels},{of_pod}}} {place % 100}\n"
            for family in ("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_SM_CLOCK")
        )

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(0)
        return web.Response(text="".join(rows[request.match_info["node"]]))

    app_of_pages = web.Application()
    app_of_pages.router.add_get("/{node}", answer)
    runner = web.AppRunner(app_of_pages, access_log=None)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    target = f"127.0.0.1:{runner.addresses[0][1]}"
    job = {
        "job_name": "dcgm",
        "honor_labels": True,
        "scrape_interval": f"{scrape_seconds}s",
        "scrape_timeout": f"{min(5, scrape_seconds)}s",
        "static_configs": [
            {"targets": [target], "labels": {"__metrics_path__": f"/{node}", "instance": node}}
            for node in rows
        ],
    }
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    prometheus = Prometheus(Path(folder), scrape=[job], environment={})
    await stack.enter_async_context(running_beside(prometheus))
    # Every node has been scraped once; Prometheus discovers targets within 5 s.
    await asyncio.sleep(scrape_seconds + 6)
    return [api.url, str(certificate), prometheus.url]


async def server_of(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    """A server that reads only that Prometheus."""
    api, prometheus = arguments
    config = {
        "prometheus": {"url": prometheus, "use": "only"},
        "fallback": {"chain": ["error"], "minCoverage": 1.0},
    }
    return [(await started(stack, api, config)).url]
