"""`serve` and `demo` as processes: the log level, and a port in use."""

import asyncio
from pathlib import Path

import pytest
from aiohttp.test_utils import unused_port

from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.kube.api import KubernetesAPI
from tests.support.commands import FLAGS, kubeconfig
from tests.support.processes import Client, started

pytestmark = pytest.mark.slow


async def test_the_log_level_of_serve(api: KubernetesAPI, cluster: Cluster, tmp_path: Path) -> None:
    """At the level error, a healthy server logs nothing."""
    port, config = unused_port(), kubeconfig(tmp_path, api.url)
    arguments = ("--kubeconfig", str(config), "--secure-port", str(port), "-v", "error")
    async with started("serve", *arguments) as process:
        await Client(f"https://127.0.0.1:{port}", trust=False).until("/readyz", 200)
        process.terminate()
        assert await process.communicate() == (b"", b"")
    assert process.returncode == 0
    assert cluster.ready_pods == 2


async def test_a_port_that_is_taken(api: KubernetesAPI, tmp_path: Path) -> None:
    """The status is 2, and the last line on stderr names the port."""
    port, config = unused_port(), kubeconfig(tmp_path, api.url)
    arguments = ("--kubeconfig", str(config), "--secure-port", str(port))
    async with (
        await asyncio.start_server(lambda _, __: None, "127.0.0.1", port),
        started("serve", *arguments) as process,
    ):
        _, err = await process.communicate()
    assert process.returncode == 2
    assert f"--secure-port {port}: cannot listen: " in err.decode().splitlines()[-1]
    assert b"Traceback" not in err


async def test_every_flag_of_demo_has_its_effect() -> None:
    """The duration, nodes, ports, fault and metric affect its output and its actions.

    --open, which would open a browser, is tested with the page.
    """
    port, page_port = unused_port(), unused_port()
    arguments = {
        "duration": "300ms",
        "nodes": "2",
        "signal": "utilization",
        "port": str(port),
        "fault": "no-pod-labels",
        "metric_type": "external",
        "page_port": str(page_port),
    }
    assert FLAGS["demo"].keys() - arguments.keys() == {"open", "page"}
    line = ["--page"]
    for dest, value in arguments.items():
        line += [FLAGS["demo"][dest], value]
    async with started("demo", *line) as process:
        out, err = await process.communicate()
    text = out.decode()
    assert (process.returncode, err) == (0, b"")
    assert f"serving at https://127.0.0.1:{port}:" in text
    assert f"http://127.0.0.1:{page_port}/" in text
    assert "2 nodes with 8 GPUs" in text
    assert "every exporter has a fault: no-pod-labels" in text
    assert "as a metric of type External." in text
    assert "The demo ends after 0.3 s" in text
    assert "The HPA requested the metric once; answers: 1 from exporters." in text
