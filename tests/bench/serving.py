"""Answers over TLS: warm ones against a bare aiohttp handler, cold ones against their scrapes.

The cluster, the server and the load each have a process.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter

import aiohttp
from aiohttp import web
from msgspec import Struct

from metrics_server.config.sections import Config
from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.gpus.workload import Load
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.kubeconfig import kubeconfig_of
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.authority import Authority
from metrics_server.tls.certificates import context_from_pair
from metrics_server.wiring.options import ServeOptions
from metrics_server.wiring.server import RunningServer, running
from tests.bench import Figure, process, uvloop_runner

PATH = (
    "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/gpu_utilization"
    "?labelSelector=app%3Dinference"
)
_ANSWER = (
    b'{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1",'
    b'"metadata":{},"items":[{"metricName":"gpu_utilization","metricLabels":'
    b'{"source":"exporters","pods":"64/64"},"timestamp":"2026-11-24T09:42:30Z","value":"76"}]}'
)
CONNECTIONS = (5, 32)
NODES = 16
SCRAPE_SECONDS = 0.03

# Short, as other load on the processors comes and goes.
_WARM_SECONDS = 0.2
_WARM_ROUNDS = 50
_COLD_ROUNDS = 7
_COLD_QUESTIONS = 30

Question = Callable[[str], Awaitable[float]]


class Sent(Struct, frozen=True):
    """The result of a load: answers per second, and the 99th percentile of their seconds."""

    rate: float
    p99: float


def warm(*, reduced: bool = False) -> list[Figure]:
    """Measure answers from pages scraped before."""
    with uvloop_runner() as runner:
        rounds = 1 if reduced else _WARM_ROUNDS
        return [figure for count in CONNECTIONS for figure in runner.run(_warm(rounds, count))]


def cold(*, reduced: bool = False) -> list[Figure]:
    """Measure answers that scrape."""
    with uvloop_runner() as runner:
        return runner.run(_cold(1 if reduced else _COLD_ROUNDS))


async def _warm(rounds: int, count: int) -> list[Figure]:
    rates: list[float] = []
    tails: list[float] = []
    async with (
        process(_cluster) as (api, certificate, authorities, *_),
        process(_servers, api, authorities, "1h") as (ours, bare),
        connections(bare, certificate, count) as theirs,
        connections(ours, certificate, count) as mine,
    ):
        for _ in range(rounds):
            reference, sent = await load(theirs), await load(mine)
            rates.append(sent.rate / reference.rate)
            tails.append(sent.p99 / reference.p99)
    over = f"{count} connections over TLS"
    handler = "a bare aiohttp handler with the same bytes over Python's own TLS"
    return [
        Figure(
            f"throughput of warm answers, {over}",
            median(rates) * 100,
            "%",
            against=handler,
            at_least=70,
        ),
        Figure(
            f"p99 of warm answers, {over}", median(tails), "times", against=handler, at_most=1.5
        ),
    ]


async def _cold(rounds: int) -> list[Figure]:
    async with (
        process(_cluster) as (api, certificate, authorities, *exporters),
        process(_servers, api, authorities, "1ms") as (ours, _),
    ):
        ratios = [
            await cold_p99(ours, certificate) / await slowest_scrape(exporters)
            for _ in range(rounds)
        ]
    return [
        Figure(
            f"p99 of answers that scrape {NODES} nodes",
            median(ratios),
            "times",
            against="the slowest of as many scrapes made at once",
            at_most=3,
        )
    ]


@asynccontextmanager
async def connections(url: str, certificate: str, count: int) -> AsyncIterator[list[Question]]:
    """Several of these connections."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connection(url, certificate)) for _ in range(count)]


async def load(connections: Iterable[Question], path: str = PATH) -> Sent:
    """Ask on several connections for a while, each without a pause."""
    end = perf_counter() + _WARM_SECONDS
    seconds: list[float] = []

    async def ask(question: Question) -> None:
        while perf_counter() < end:
            seconds.append(await question(path))

    await asyncio.gather(*map(ask, connections))
    return Sent(len(seconds) / _WARM_SECONDS, quantiles(seconds, n=100)[-1])


async def cold_p99(url: str, certificate: str, path: str = PATH) -> float:
    """The 99th percentile of the seconds of answers that scrape."""
    async with connection(url, certificate) as question:
        await question(path)  # to connect, as is done for the scrapes it is compared with
        seconds = [await question(path) for _ in range(_COLD_QUESTIONS)]
    return quantiles(seconds, n=100)[-1]


@asynccontextmanager
async def connection(url: str, certificate: str) -> AsyncIterator[Question]:
    """A connection that stays open; each call asks once, and returns the seconds to the answer.

    No client library: its own time would hide what is measured.
    """
    host, port = url.removeprefix("https://").split(":")
    context = ssl.create_default_context()
    # The load knows its peer; verifying would only measure the client.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(certificate)
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    ending = (
        f" HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n"
        "X-Remote-User: system:serviceaccount:kube-system:horizontal-pod-autoscaler\r\n"
        "X-Remote-Group: system:serviceaccounts\r\n"
        "X-Remote-Group: system:serviceaccounts:kube-system\r\n\r\n"
    ).encode()

    async def question(path: str) -> float:
        began = perf_counter()
        writer.write(f"GET {path}".encode() + ending)
        head = await reader.readuntil(b"\r\n\r\n")
        _, _, rest = head.lower().partition(b"content-length: ")
        body = await reader.readexactly(int(rest.partition(b"\r\n")[0]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{path}: {body.decode()}")
        return perf_counter() - began

    try:
        yield question
    finally:
        writer.close()
        await writer.wait_closed()


async def front_proxy_certificate(stack: AsyncExitStack, trust: SimulatedTrust) -> Path:
    """The file of a front proxy's certificate and key, until the stack closes."""
    pair = trust.front_proxy()
    path = Path(stack.enter_context(TemporaryDirectory()), "front-proxy.pem")
    await asyncio.to_thread(path.write_bytes, pair.certificate + pair.key)
    return path


async def started(stack: AsyncExitStack, api: str, config: Mapping[str, object]) -> RunningServer:
    """A server that knows its cluster, until the stack closes.

    Args:
        stack: what ends it.
        api: the URL of its Kubernetes API.
        config: the sections of its configuration file.
    """
    kubeconfig = await stack.enter_async_context(kubeconfig_of(api, b""))
    options = ServeOptions(kubeconfig=kubeconfig, secure_port=0)
    server = await stack.enter_async_context(running(options, Config.model_validate(config)))
    for synced in server.synced.values():
        await synced.wait()
    return server


async def slowest_scrape(urls: list[str]) -> float:
    """The seconds of the slowest of these scrapes, made at once."""
    async with aiohttp.ClientSession() as session:

        async def scrape(url: str) -> float:
            began = perf_counter()
            async with session.get(url) as response:
                await response.read()
            return perf_counter() - began

        await asyncio.gather(*map(scrape, urls))  # to connect
        return max(await asyncio.gather(*map(scrape, urls)))


async def _cluster(stack: AsyncExitStack, /, *_: str) -> list[str]:
    """A cluster with a pod on every node, and slow exporters."""
    api = await stack.enter_async_context(KubernetesAPI())
    trust = SimulatedTrust(api)
    certificate = await front_proxy_certificate(stack, trust)
    authorities = certificate.with_name("client-ca.pem")
    await asyncio.to_thread(authorities.write_bytes, trust.front_proxies.bundle)
    cluster = await stack.enter_async_context(
        Cluster(api, nodes=NODES, load=Load(), loading_seconds=0, deleting_seconds=0)
    )
    cluster.scale(cluster.capacity)
    await cluster.set_fault(Fault("slow", SCRAPE_SECONDS))
    return [api.url, str(certificate), str(authorities), *cluster.exporter_urls]


async def _servers(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    """The server, and a bare aiohttp handler that sends the same bytes."""
    api, authorities, max_age = arguments
    # Whatever is not fully measured must fail.
    fallback = {"chain": ["error"], "minCoverage": 1.0}
    config = {"exporters": {"maxAge": max_age}, "fallback": fallback}
    server = await started(stack, api, config)
    body = _ANSWER

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/apis/{rest:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    pair = Authority("bench").issue(["127.0.0.1"])
    context = await asyncio.to_thread(context_from_pair, pair)
    await asyncio.to_thread(context.load_verify_locations, authorities)
    context.verify_mode = ssl.CERT_OPTIONAL
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    return [server.url, f"https://127.0.0.1:{runner.addresses[0][1]}"]
