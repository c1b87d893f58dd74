"""Memory and time to read the pods of a large cluster: streamed, in pages, and in one piece.

At resourceVersion=0 a Kubernetes API server sends a whole list from its cache, and ignores the
limit. The API and each list run in separate processes.
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter

from metrics_server.kube.client import connect
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import pod_decoder
from metrics_server.kube.reflector import Reflector
from metrics_server.simulator import manifests
from metrics_server.simulator.gpus.workload import SimulatedPod
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.kubeconfig import kubeconfig_of
from metrics_server.simulator.kube.objects import PODS
from tests.bench import Figure, process, uvloop_runner
from tests.bench.scale import peak_mib

PODS_LISTED = 20_000
# As large as a typical Pod with its managed fields and its volumes.
_PADDING = "x" * 3500


def run(*, reduced: bool = False) -> list[Figure]:
    """Measure the peak memory of each way of listing."""
    with uvloop_runner() as runner:
        return runner.run(_measure(PODS_LISTED // 10 if reduced else PODS_LISTED))


async def _measure(listed: int) -> list[Figure]:
    async with (
        process(_api, str(listed), "streamed") as (api,),
        process(_listed, api, "") as (streamed, streaming),
    ):
        pass
    async with process(_api, str(listed), "listed") as (api,):
        async with process(_listed, api, "") as (paged, paging):
            pass
        async with process(_listed, api, "0") as (whole, _):
            pass
    pods = f"{listed:,} pods"
    return [
        Figure(
            f"memory to list {pods} in one piece",
            float(whole) / float(paged),
            "times",
            against="listing them in pages",
        ),
        Figure(
            f"peak of memory as {pods} are listed in pages, above that before", float(paged), "MiB"
        ),
        Figure(f"peak of memory as {pods} are streamed, above that before", float(streamed), "MiB"),
        Figure(
            f"time until {pods} are streamed",
            float(streaming) / float(paging),
            "times",
            against="listing them in pages",
        ),
    ]


async def _api(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    """A Kubernetes API with this many pods, which streams them or not."""
    api = await stack.enter_async_context(KubernetesAPI())
    api.faults.streams_lists = arguments[1] == "streamed"
    for number in range(int(arguments[0])):
        pod = manifests.pod(
            SimulatedPod(
                "default", f"pod-{number:05d}", "main", f"node-{number % 500}", ("gpu",), ready=True
            ),
            None,
        )
        api.apply(PODS, {**pod, "padding": _PADDING})
    return [api.url]


async def _listed(stack: AsyncExitStack, /, *arguments: str) -> list[str]:
    """A list's peak memory in MiB, and its seconds."""
    url, version = arguments
    kubeconfig = await stack.enter_async_context(kubeconfig_of(url, b""))
    client = await connect(kubeconfig)
    stack.push_async_callback(client.close)
    watch = Reflector(client, "/api/v1/pods", pod_decoder(), PodStore(), first_version=version)
    # Reset the peak: from here on it is that of the list.
    await asyncio.to_thread(Path("/proc/self/clear_refs").write_text, "5", encoding="utf-8")
    before, began = peak_mib("self"), perf_counter()
    task = asyncio.create_task(watch.run())
    await watch.synced.wait()
    seconds = perf_counter() - began
    took = peak_mib("self") - before
    task.cancel()
    await asyncio.wait([task])
    return [str(took), str(seconds)]
