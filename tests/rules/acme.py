"""A vendor that does not exist, as in a file of `rules/vendors/`; and a server with it.

    python -m tests.rules.acme FILE

adds the vendor to the registry before anything is derived from it, runs a whole server in a
simulated cluster, and writes the server's answers to the file, as JSON.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.families import MAX_MEMORY_MIB, Kind
from metrics_server.rules.lookup import Counters
from metrics_server.rules.vendors import registry
from metrics_server.rules.vendors.vendor import Hints, Service, Use, Vendor

if TYPE_CHECKING:
    from metrics_server.simulator.kube.objects import Object

ACME = Vendor(
    name="acme",
    dialects=(
        Dialect(
            name="acme",
            marks=("card", "serial"),
            gpu=("card",),
            namespace="owner_namespace",
            pod="owner",
            hosts=("machine",),
        ),
    ),
    kinds=(
        Kind("acme_busy acme_busy_v2", "ratio", 1, decimals=3),
        Kind("acme_memory_used\nacme_memory_total", "MiB", MAX_MEMORY_MIB),
        Kind("acme_core_watts", "watts", 500, each=("core",)),
    ),
    metrics={
        "gpu_utilization": ("acme_busy",),
        "gpu_memory_used": ("acme_memory_used",),
        "gpu_memory_utilization": (Use("acme_memory_used", share_of=("acme_memory_total",)),),
        "gpu_power_usage": (Use("acme_core_watts", where=(("rail", "main"),)),),
    },
    counters=(Counters("acme_jobs_total", "acme_busy"),),
    gpu_resources=("acme.com/card", "acme.com/card-slice"),
    shared_suffixes=("-slice",),
    services=(Service("acme-system", "acme-exporter"),),
    hints=Hints(pods="pods: true in acme.yaml", claims="claims: true"),
)
METRICS = (
    "gpu_utilization",
    "gpu_utilization_sum",
    "gpu_utilization_max",
    "gpu_memory_used",
    "gpu_memory_utilization",
    "gpu_power_usage",
    "acme_busy",
    "acme_busy_v2_sum",
    "acme_core_watts",
    "acme_jobs_total",
)


def rows(card: int, busy: float, owner: str = "") -> str:
    """The rows of a card on an exporter's page."""
    labels = f'card="{card}",serial="s{card}",machine="gpu-0"'
    if owner:
        labels += f',owner_namespace="default",owner="{owner}"'
    return (
        # A later release uses another name.
        f"acme_busy{'_v2' if card else ''}{{{labels}}} {busy}\n"
        f"acme_memory_used{{{labels}}} 100\n"
        f"acme_memory_total{{{labels}}} 400\n"
        f'acme_core_watts{{{labels},core="0",rail="main"}} 10\n'
        f'acme_core_watts{{{labels},core="1",rail="main"}} 30\n'
        f"acme_jobs_total{{{labels}}} 7\n"
    )


async def serve() -> dict[str, str]:
    """A server's answers for pods with such cards, without any configuration."""
    # Only now does the registry have the vendor.
    from metrics_server.simulator import manifests  # noqa: PLC0415
    from metrics_server.simulator.kube.objects import ENDPOINT_SLICES  # noqa: PLC0415
    from tests.support.exporters import PageExporter  # noqa: PLC0415
    from tests.support.harness import cluster  # noqa: PLC0415
    from tests.support.objects import pod  # noqa: PLC0415
    from tests.support.waiting import eventually  # noqa: PLC0415

    def endpoint_slice(port: int) -> "Object":
        service: Object = {"kubernetes.io/service-name": "acme-exporter"}
        return {
            **manifests.endpoint_slice("gpu-0", port),
            "metadata": {"name": "acme-1", "namespace": "acme-system", "labels": service},
        }

    pods = [
        pod("a", gpus=2, resource="acme.com/card"),
        pod("b", labels={"app": "idle"}, node="gpu-0", resource="acme.com/card-slice"),
    ]
    exporter = PageExporter(rows(0, 0.4, "a") + rows(1, 0.6, "a"))
    async with cluster({}, pods) as simulated, exporter:
        simulated.api.apply(ENDPOINT_SLICES, endpoint_slice(exporter.port))
        client = simulated.client
        await eventually(
            lambda: client.metric("default", "gpu_utilization", "app=inference"),
            lambda answer: answer.status == 200,
        )
        said: dict[str, str] = {}
        for metric in METRICS:
            answer = await client.metric("default", metric, "app=inference")
            is_value = answer.status == 200
            said[metric] = answer.item().value if is_value else answer.error().message
        exporter.page = rows(0, 0.4) + rows(1, 0.6)
        nameless = await eventually(
            lambda: client.metric("default", "gpu_utilization", "app=idle"),
            lambda answer: "names no pods" in answer.text,
        )
        said["without names"] = nameless.error().message
    return said


def main() -> None:
    """Add the vendor, serve, and write the answers."""
    registry.VENDORS = (*registry.VENDORS, ACME)
    Path(sys.argv[1]).write_text(json.dumps(asyncio.run(serve())), encoding="utf-8")


if __name__ == "__main__":
    main()
