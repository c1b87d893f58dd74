"""Pieces of work without I/O."""

import msgspec

from metrics_server.kube.labels import parse_selector
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import Pod, pod_decoder
from metrics_server.kube.wire import decode_list
from metrics_server.measuring.samples import Question
from metrics_server.measuring.selection import select
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from metrics_server.simulator.kube.objects import Object
from metrics_server.sources.exporters.pod_mapper import attribute
from metrics_server.sources.exporters.sheet import Sheet
from tests.bench.counts.counting import Work
from tests.support.data import EXPORTERS
from tests.support.objects import pod

_PODS = 1000
_PAGE = EXPORTERS / "dcgm-3.x-8gpu-multi-pod.prom"


def parse_page() -> Work:
    """Parse a DCGM exporter's page with 8 GPUs, and attribute a metric to its pods."""
    page = _PAGE.read_bytes()
    readings = Rules(CATALOGUE).find("gpu_utilization").readings
    return lambda: attribute(Sheet(page), readings)


def select_pods() -> Work:
    """Select half of a namespace's pods."""
    pods = [pod_decoder()(msgspec.json.encode(one)) for one in _objects()]
    question = Question("default", "gpu_utilization", parse_selector("app=app-0"))
    return lambda: select(question, pods, "ready")


def list_pods() -> Work:
    """Decode one page of a pod list, and keep the pods."""
    page = msgspec.json.encode({"metadata": {"resourceVersion": "1"}, "items": _objects()})
    decode = pod_decoder(endpoints=True)

    def work() -> PodStore:
        store = PodStore()
        pods: list[Pod] = [decode(raw) for raw in decode_list(page).items or ()]
        store.replace(pods)
        store.in_namespace("default")
        return store

    return work


def _objects() -> list[Object]:
    return [
        pod(
            f"app-{number % 2}-{number}",
            labels={"app": f"app-{number % 2}", "pod-template-hash": "simulated"},
            node=f"gpu-{number // 8}",
        )
        for number in range(_PODS)
    ]
