"""The command `top` and the kubectl plugin."""

import asyncio
import io
import json
import signal
from collections.abc import Mapping

import pytest
from aiohttp import web

from metrics_server.api.types import CUSTOM_GROUP, CUSTOM_VERSIONS
from metrics_server.commands import looking, plugin, top
from metrics_server.doctor.usage import Use, as_text, sorted_by
from metrics_server.doctor.using import Usage
from metrics_server.simulator.faults import Fault
from metrics_server.simulator.kube.api import Handler
from metrics_server.simulator.kube.objects import PODS
from tests.doctor.running import Run
from tests.doctor.scene import Scene
from tests.support.processes import started

_HEADINGS = ["NAMESPACE", "POD", "GPU", "UTIL", "MEMORY", "OF", "POWER"]


def rows_of(text: str) -> list[list[str]]:
    """The cells of a table."""
    return [line.split() for line in text.splitlines()]


async def test_each_gpu_of_each_pod(scene: Scene, run: Run) -> None:
    """From the exporters' pages: utilization, memory and power."""
    ran = await run("top", "--sort", "name")
    assert ran.status == 0
    headings, *cells, last = rows_of(ran.out)
    assert headings == _HEADINGS
    assert [row[:2] for row in cells] == [["default", pod.name] for pod in scene.cluster.pods]
    for row in cells:
        assert row[2].startswith("GPU-")
        assert row[3] == "40%"
        assert row[5] == "MiB"
        assert row[-1] == "W"
    assert " ".join(last) == "from the exporters' pages"


async def test_a_selector(scene: Scene, run: Run) -> None:
    """Only the pods that match."""
    scene.change(PODS, "default", scene.pod_name, metadata__labels={"app": "other"})
    ran = await run("top", "-l", "app=other", "--output", "json")
    assert [one["pod"] for one in json.loads(ran.out)["gpus"]] == [scene.pod_name]


async def test_a_pod_without_a_value(scene: Scene, run: Run) -> None:
    """It is listed without a value."""
    await scene.cluster.set_fault(Fault("unlabelled"))
    ran = await run("top")
    assert rows_of(ran.out)[1][2:] == ["-", "-", "-", "-", "-"]


async def test_who_may_read_metrics_only(scene: Scene, run: Run) -> None:
    """They get each pod's mean from the API, and why."""
    scene.api.faults.forbid("/proxy/")
    ran = await run("top", "--sort", "name")
    assert ran.status == 0
    _, *cells, last = rows_of(ran.out)
    assert [row[1:4] for row in cells] == [[pod.name, "-", "40%"] for pod in scene.cluster.pods]
    assert (
        "from the custom metrics API, for each pod over all of its GPUs (pod gpu-monitoring/"
        "dcgm-exporter-gpu-node-0 on node gpu-node-0 was not read: "
    ) in " ".join(last)
    scene.api.faults.forbid("/api/v1/")
    scene.api.faults.forbid("/apis/apps")
    assert (await run("top")).status == 0


async def test_who_may_read_nothing(scene: Scene, run: Run) -> None:
    """It ends with an error that mentions both."""
    scene.api.faults.forbid("/api/v1/")
    scene.api.faults.forbid("/apis/custom.metrics.k8s.io")
    ran = await run("top")
    assert ran.status == 1
    assert "neither the exporters nor the custom metrics API can be read: " in ran.err


async def test_inference_engines(scene: Scene, run: Run) -> None:
    """Their metrics have columns if there are any."""
    values = {"llm_requests_waiting": "7", "llm_kv_cache_utilization": "62"}
    for version in CUSTOM_VERSIONS:
        scene.api.aggregate(CUSTOM_GROUP, version, _values(scene.pod_name, values))
    ran = await run("top", "--sort", "name")
    headings, first, second, _ = rows_of(ran.out)
    assert headings == [*_HEADINGS, "WAITING", "RUNNING", "KV", "CACHE"]
    assert first[-3:] == ["7", "-", "62%"]
    assert second[-3:] == ["-", "-", "-"]


def _values(pod: str, values: Mapping[str, str]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2]
        if name not in values:
            return web.json_response({"kind": "Status", "message": "no"}, status=404)
        item = {"describedObject": {"name": pod}, "value": values[name]}
        return web.json_response({"kind": "MetricValueList", "items": [item]})

    return answer


@pytest.mark.slow
async def test_watching(scene: Scene) -> None:
    """It reads repeatedly, until it is interrupted."""
    arguments = ("--kubeconfig", str(scene.kubeconfig), "--watch", "--every", "50ms")
    async with started("top", *arguments) as process:
        assert process.stdout is not None
        seen = 0
        while seen < 3:
            seen += (await process.stdout.readline()).startswith(b"NAMESPACE")
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 130


@pytest.mark.slow
async def test_watching_goes_on_after_an_error(scene: Scene) -> None:
    """The error is on stderr, and the next reading on stdout."""
    refused = ("/api/v1/", "/apis/custom.metrics.k8s.io")
    arguments = ("--kubeconfig", str(scene.kubeconfig), "--watch", "--every", "50ms")
    async with started("top", *arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert (await process.stdout.readline()).startswith(b"NAMESPACE")
        for path in refused:
            scene.api.faults.forbid(path)
        line = await process.stderr.readline()
        assert b"Z: neither the exporters nor the custom metrics API can be read: " in line
        for path in refused:
            scene.api.faults.allow(path)
        while not (await process.stdout.readline()).startswith(b"NAMESPACE"):
            assert process.returncode is None
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 130


@pytest.mark.slow
async def test_it_is_bounded_in_time(
    scene: Scene, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a whole, whatever hangs; so is `ask`."""
    # Long enough to connect, even on a busy machine.
    monkeypatch.setattr(looking, "CHECK_SECONDS", 1.5)

    async def hang(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    for version in CUSTOM_VERSIONS:
        scene.api.aggregate(CUSTOM_GROUP, version, hang)
    for status, *command in ((1, "top"), (2, "ask", "--hpa", "inference")):
        ran = await run(*command)
        assert ran.status == status
        assert "the cluster did not answer within 1.5 s; gpu-metrics-server doctor" in ran.err


def test_sorting() -> None:
    """Highest first; pods without a value last."""
    uses = [
        Use("default", "a", utilization=1, memory=9, power=5),
        Use("default", "b", utilization=3, memory=7),
        Use("default", "c", utilization=2, memory=8, power=6),
    ]
    order = {
        by: "".join(one.pod for one in sorted_by(uses, by))
        for by in ("utilization", "memory", "power", "name")
    }
    assert order == {"utilization": "bca", "memory": "acb", "power": "cab", "name": "abc"}


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def test_a_table_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays in place if rich is installed."""
    usage = Usage([Use("default", "a", utilization=40)], "tests")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with top._screen(out, "table", "name") as show:
        show(usage)
        assert "NAMESPACE" in out.getvalue()
        out.seek(0)
        out.truncate()
        show("not read at 10:00:00Z: forbidden")
    assert "forbidden" in out.getvalue()
    assert "NAMESPACE" not in out.getvalue()
    monkeypatch.setattr(top, "Console", None)
    out = Terminal()
    with top._screen(out, "table", "name") as show:
        show(usage)
    assert out.getvalue() == f"{as_text(usage.uses)}from tests\n"


def test_the_plugin_has_the_same_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Under the name that kubectl knows it by."""
    with pytest.raises(SystemExit) as ended:
        plugin.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: kubectl gpu_metrics")
    for command in ("doctor", "ask", "top"):
        assert f"\n    {command} " in text
    with pytest.raises(SystemExit) as ended:
        plugin.main(["doctor", "--selector", "a in"])
    assert ended.value.code == 2
    assert "kubectl gpu_metrics: --selector: " in capsys.readouterr().err
