"""Questions to a whole server, and the files it starts with."""

from collections.abc import Callable
from pathlib import Path

from metrics_server.tls.authority import Authority
from tests.support.clients import Answer
from tests.support.harness import Cluster

UTILIZATION = {("default", "a"): [10], ("default", "b"): [30], ("other", "a"): [90]}


async def ask(simulated: Cluster, namespace: str = "default") -> Answer:
    """The answer for the pods with app=inference."""
    return await simulated.client.metric(namespace, "gpu_utilization", "app=inference")


def has_value(value: str, pods: int) -> Callable[[Answer], bool]:
    """A check that the answer is this value, measured on this many pods."""

    def check(answer: Answer) -> bool:
        if answer.status != 200:
            return False
        item = answer.item()
        return (item.value, item.metric_labels.get("pods")) == (value, f"{pods}/{pods}")

    return check


def write_pair(folder: Path, authority: Authority) -> tuple[Path, Path]:
    """A serving certificate and its key, as files."""
    pair = authority.issue(["gpu-metrics-server.gpu-monitoring.svc", "127.0.0.1"])
    certificate, key = folder / "tls.crt", folder / "tls.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    return certificate, key
