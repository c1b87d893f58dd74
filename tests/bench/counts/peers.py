"""The cluster of a counted server, in a separate process: an API, pods and pages."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from ipaddress import IPv4Address

from metrics_server.simulator import manifests
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, PODS, Object
from metrics_server.simulator.kube.trust import SimulatedTrust
from tests.bench.serving import front_proxy_certificate
from tests.support.data import DATA
from tests.support.exporters import page
from tests.support.objects import pod

PODS_OF_GPUS, GPUS_OF_NODE = 100, 8
ENGINES = 20
_ENGINE_PAGE = DATA / "engines" / "vllm-v1-dp2.prom"
_FIRST_NODE, _FIRST_ENGINE = IPv4Address("127.2.0.1"), IPv4Address("127.3.0.1")


async def cluster(stack: AsyncExitStack, /, *_: str) -> list[str]:
    """A Kubernetes API with its front proxy's certificate.

    It has pods with one GPU each, labelled app=inference, and inference engines, labelled app=llm.
    """
    api = await stack.enter_async_context(KubernetesAPI())
    certificate = await front_proxy_certificate(stack, SimulatedTrust(api))
    names = [f"inference-{number}" for number in range(PODS_OF_GPUS)]
    for number, start in enumerate(range(0, PODS_OF_GPUS, GPUS_OF_NODE)):
        node, address = f"gpu-{number}", str(_FIRST_NODE + number)
        of_node = names[start : start + GPUS_OF_NODE]
        for name in of_node:
            api.apply(PODS, pod(name, node=node))
        text = page({("default", name): [50] for name in of_node})
        port = await _serve(stack, address, text.encode())
        endpoints = manifests.endpoint_slice(node, port)
        api.apply(
            ENDPOINT_SLICES, endpoints | {"endpoints": [{"addresses": [address], "nodeName": node}]}
        )
    body = await asyncio.to_thread(_ENGINE_PAGE.read_bytes)
    for number in range(ENGINES):
        address = str(_FIRST_ENGINE + number)
        port = await _serve(stack, address, body)
        api.apply(PODS, _engine(f"llm-{number}", address, port))
    return [api.url, str(certificate)]


def _engine(name: str, address: str, port: int) -> Object:
    made = pod(name, labels={"app": "llm"}, gpus=0)
    assert isinstance(made["metadata"], dict)
    assert isinstance(made["status"], dict)
    made["metadata"]["annotations"] = {"prometheus.io/port": str(port)}
    made["status"]["podIP"] = address
    return made


async def _serve(stack: AsyncExitStack, address: str, body: bytes) -> int:
    """Serve a page, each response in a single write, so that it arrives whole."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = partial(_answer, head.encode() + body)
    server = await asyncio.start_server(answer, address, 0)
    stack.callback(server.close)
    return int(server.sockets[0].getsockname()[1])


async def _answer(
    response: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(response)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
