"""`serve` as a process: each flag has its effect."""

import asyncio
import json
import signal
import ssl
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pytest
from aiohttp.test_utils import unused_port

from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.tls.authority import Authority
from tests.support.commands import FLAGS, kubeconfig
from tests.support.forking import ForkedProcess
from tests.support.processes import METRIC, Client, logged, started, started_from_nothing

pytestmark = pytest.mark.slow


class Start(Protocol):
    """How a process is started."""

    def __call__(
        self, *arguments: str
    ) -> AbstractAsyncContextManager[ForkedProcess | asyncio.subprocess.Process]:
        """The process of a command."""


# These exclude each other, or others: separate tests show their effect.
FLAGS_OF_TRUST = {
    "cert_dir",
    "self_managed_certs",
    "client_ca_file",
    "requestheader_client_ca_file",
    "requestheader_allowed_names",
    "requestheader_uid_headers",
    "always_allow_paths",
}
# More than an idle server has open, and less than it has while scraping.
LOW_LIMIT = 50
SET_LOW_LIMIT = f"""
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
setrlimit(RLIMIT_NOFILE, ({LOW_LIMIT}, getrlimit(RLIMIT_NOFILE)[1]))
"""


def assert_measured(text: str) -> None:
    """The answer is the mean over the pods, as their exporter reports them."""
    (item,) = json.loads(text)["items"]
    assert item["value"] == "75"
    assert item["metricLabels"]["source"] == "exporters"


@pytest.mark.parametrize(
    ("number", "start"),
    [(signal.SIGTERM, started), (signal.SIGINT, started_from_nothing)],
    ids=["SIGTERM", "SIGINT"],
)
async def test_serve(
    api: KubernetesAPI, cluster: Cluster, tmp_path: Path, number: signal.Signals, start: Start
) -> None:
    """It becomes ready, answers over TLS from what is in the cluster, and stops on a signal."""
    config = kubeconfig(tmp_path, api.url)
    flags = ("--kubeconfig", str(config), "--secure-port", "0")
    async with start("serve", *flags) as process:
        line = await logged(process, "] serving kubernetes=")
        client = Client(line.rsplit("url=", 1)[1].split()[0], trust=False)
        assert "url=https://127.0.0.1:" in line
        assert f"kubernetes={api.url}" in line
        await client.until("/readyz", 200)
        assert_measured(await client.until(METRIC, 200))
        process.send_signal(number)
        out, err = await process.communicate()
    assert (process.returncode, out) == (0, b"")
    assert b"] stopping " in err
    assert err.rstrip().endswith(b"] stopped")
    assert await client.get("/livez") is None
    assert cluster.ready_pods == 2


async def test_a_low_limit_of_open_files(
    api: KubernetesAPI, cluster: Cluster, tmp_path: Path
) -> None:
    """A limit that is too low is raised: every exporter is scraped, all at once."""
    (exporter,) = cluster.exporter_urls
    await cluster.set_fault(Fault("slow", 0.2))  # so that no connection is free for reuse
    exporters = [f"--exporter={exporter}?number={number}" for number in range(100)]
    config = str(kubeconfig(tmp_path, api.url))
    serve = ("serve", "--kubeconfig", config, "--secure-port", "0", *exporters)
    async with started(*serve, preamble=SET_LOW_LIMIT) as process:
        line = await logged(process, "] serving kubernetes=")
        client = Client(line.rsplit("url=", 1)[1].split()[0], trust=False)
        assert_measured(await client.until(METRIC, 200))
        process.terminate()
        _, err = await process.communicate()
    assert b"scrape failed" not in err


async def test_every_flag_of_serve_has_its_effect(
    api: KubernetesAPI, cluster: Cluster, tmp_path: Path
) -> None:
    """The address, port, certificate, exporters, file, log format and delay."""
    authority, port = Authority("the user's own"), unused_port()
    pair = authority.issue(["127.0.0.2"])
    certificate, key, config = (tmp_path / name for name in ("tls.crt", "tls.key", "config.yaml"))
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    config.write_text("pods: {namespaces: [default]}")
    arguments = {
        "config": config,
        "external_metrics": "true",
        "custom_metrics": "false",
        "kubeconfig": kubeconfig(tmp_path, api.url),
        "bind_address": "127.0.0.2",
        "secure_port": port,
        "tls_cert_file": certificate,
        "tls_private_key_file": key,
        "exporters": cluster.exporter_urls[0],
        "shutdown_delay": "700ms",
        "log_level": "info",
        "log_format": "json",
    }
    assert set(arguments) | FLAGS_OF_TRUST == set(FLAGS["serve"])
    line = [
        text for dest, value in arguments.items() for text in (FLAGS["serve"][dest], str(value))
    ]
    async with started("serve", *line) as process:
        told = json.loads(await logged(process, '"serving"'))
        assert told["url"] == f"https://127.0.0.2:{port}"
        trust = ssl.create_default_context(cadata=authority.bundle.decode())
        client = Client(told["url"], trust=trust)
        await client.until("/readyz", 200)
        assert_measured(await client.until(METRIC, 200))
        assert "external.metrics.k8s.io" in (groups := await client.until("/apis", 200))
        assert "custom.metrics.k8s.io" not in groups
        process.terminate()
        assert "shutdown" in await client.until("/readyz", 500)
        assert_measured(await client.until(METRIC, 200))
        _, err = await process.communicate()
    assert process.returncode == 0
    events = [json.loads(each) for each in err.decode().splitlines()]
    stopping, stopped = events[-2:]
    assert (stopping["event"], stopped["event"]) == ("stopping", "stopped")
    assert stopping["delay"] == pytest.approx(0.7)
    began, ended_ = (datetime.fromisoformat(one["timestamp"]) for one in (stopping, stopped))
    assert (ended_ - began).total_seconds() >= 0.7
    asked = {url.path for url in api.requests}
    assert "/api/v1/namespaces/default/pods" in asked
    assert "/api/v1/pods" not in asked
    assert not any("endpointslices" in path for path in asked)
