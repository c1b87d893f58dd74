"""The complete demo: the real server, and a loop that ends cleanly."""

import asyncio
import os
import re
import signal
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from aiohttp.test_utils import unused_port
from msgspec import structs
from structlog.testing import capture_logs

from metrics_server.errors import ConfigurationError
from metrics_server.simulator.demo.options import DemoOptions, FaultName, MetricType, Tempo
from metrics_server.simulator.demo.run import demo
from tests.support.demos import IMPATIENT, QUICK, kubeconfigs, shown
from tests.support.processes import started

pytestmark = pytest.mark.slow


def sources(text: str) -> list[str]:
    """The source of each answer, in order."""
    return re.findall(r"  source (\S+) ", text)


async def test_it_ends_by_itself(capsys: pytest.CaptureFixture[str], temporary: Path) -> None:
    """It prints an introduction, each sync and a summary, and leaves nothing behind."""
    text = await shown(capsys, DemoOptions(duration=2, nodes=2))
    introduction, rows, summary = text.split("\n\n  export")[0], sources(text), text[-200:]
    assert "gpu-metrics-server is serving at https://127.0.0.1:" in introduction
    assert "Simulated: a Kubernetes API; 2 nodes with 8 GPUs" in introduction
    assert "The demo ends after 2 s or on Ctrl-C." in introduction
    assert "fault" not in introduction
    assert len(rows) > 1
    assert set(rows) == {"exporters"}
    assert (
        f"The HPA requested the metric {len(rows)} times; answers: {len(rows)} from exporters."
        in summary
    )
    assert re.search(r"It scaled (once|twice|\d+ times), between \d and \d replicas\.\n$", summary)
    assert not kubeconfigs(temporary)


@pytest.mark.parametrize("kind", get_args(MetricType))
async def test_the_hpa_scales(capsys: pytest.CaptureFixture[str], kind: MetricType) -> None:
    """Within a swing of the demand, replicas are added and removed, never beyond the GPUs."""
    text = await shown(capsys, DemoOptions(duration=2.5, metric_type=kind))
    wanted = [int(count) for count in re.findall(r"\d+/(\d+) ready", text)]
    changes = [after - before for before, after in pairwise(wanted)]
    assert max(changes) > 0 > min(changes)
    assert max(wanted) <= 12


EVERYWHERE = [name for name in get_args(FaultName) if name != "one-exporter-down"]


def tempo_for(fault: FaultName) -> Tempo:
    """A tempo at which the server soon notices a fault."""
    return IMPATIENT if fault == "exporter-slow" else QUICK


def duration_for(fault: FaultName) -> float:
    """A duration whose middle third is long enough for an answer on a busy machine."""
    return 6 if fault == "exporter-slow" else 4.5


# A fallback does not depend on the kind of fault.
@pytest.mark.parametrize("fault", ["exporter-down", "exporter-slow"])
async def test_a_fault_comes_and_goes(
    capsys: pytest.CaptureFixture[str], fault: FaultName, temporary: Path
) -> None:
    """In the middle third, an External metric falls back; then the exporters answer again."""
    options = DemoOptions(duration=duration_for(fault), fault=fault, metric_type="external")
    text = await shown(capsys, options, tempo_for(fault))
    found = sources(text)
    assert f"every exporter has a fault: {fault}." in text
    assert "falls back to the last known value" in text
    assert (found[0], found[-1]) == ("exporters", "exporters")
    assert set(found) <= {"exporters", "last-known", "simulated", "error"}
    # After the last-known value has moved the workload, the error keeps the replicas.
    assert not {"simulated", "error"}.isdisjoint(found)
    assert not kubeconfigs(temporary)


@pytest.mark.parametrize("fault", EVERYWHERE)
async def test_a_pods_metric_has_no_fallback(
    capsys: pytest.CaptureFixture[str], fault: FaultName
) -> None:
    """In the middle third there is an error, and the replicas stay the same."""
    text = await shown(
        capsys, DemoOptions(duration=duration_for(fault), fault=fault), tempo_for(fault)
    )
    found = sources(text)
    assert f"every exporter has a fault: {fault}." in text
    assert "a Pods metric has no fallback" in text
    assert (found[0], found[-1]) == ("exporters", "exporters")
    assert set(found) == {"exporters", "error"}
    errors = [line for line in text.splitlines() if "  source error " in line]
    assert re.search(rf"answers: .*\b{len(errors)} errors?\b", text)
    assert all("unable to fetch metrics from custom metrics API: " in line for line in errors)
    assert len({line.partition(" ready")[0].rpartition("/")[2] for line in errors}) == 1


@pytest.mark.parametrize("kind", get_args(MetricType))
async def test_a_fault_of_one_exporter_leaves_some_pods_out(
    capsys: pytest.CaptureFixture[str], kind: MetricType
) -> None:
    """Meanwhile exporters still answer, for fewer pods than there are."""
    # No pod lacks a value because it is loading.
    ready_at_once = structs.replace(QUICK, loading=0)
    options = DemoOptions(duration=4.5, fault="one-exporter-down", metric_type=kind)
    text = await shown(capsys, options, ready_at_once)
    assert "one exporter has a fault: one-exporter-down." in text
    assert set(sources(text)) == {"exporters"}
    covered = re.findall(r"  source exporters (\d+)/(\d+) ", text)
    partly = [int(some) < int(every) for some, every in covered]
    # The number of rows depends on how busy the machine is.
    assert any(partly)
    assert not partly[0]
    assert not partly[-1]


@pytest.mark.parametrize("kind", get_args(MetricType))
async def test_it_says_how_to_ask_by_hand(
    capsys: pytest.CaptureFixture[str], kind: MetricType
) -> None:
    """The introduction has the path that the HPA requests, with a literal star."""
    text = await shown(capsys, DemoOptions(duration=0, metric_type=kind))
    path = {
        "pods": "custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/gpu_utilization",
        "external": "external.metrics.k8s.io/v1beta1/namespaces/default/gpu_utilization",
    }[kind]
    assert f"get --raw '/apis/{path}?labelSelector=app%3Dinference'" in text
    assert f"as a metric of type {kind.capitalize()}." in text
    for command in ("ask --hpa inference", "top", "doctor --hpa inference"):
        assert re.search(rf"^  \S*gpu-metrics-server {command}$", text, re.MULTILINE)
    assert "  export KUBECONFIG=/" in text


async def test_it_says_how_to_see_it_in_a_browser(capsys: pytest.CaptureFixture[str]) -> None:
    """By its flag, or by its URL once there is one."""
    flags = "restart it with --open, or --page"
    without = await shown(capsys, DemoOptions(duration=0))
    with_page = await shown(capsys, DemoOptions(duration=0, page=True, page_port=0))
    assert flags in without
    assert "  shows it in a browser" not in without
    assert flags not in with_page
    assert "  shows it in a browser" in with_page


async def test_the_only_exporter_is_every_exporter(capsys: pytest.CaptureFixture[str]) -> None:
    """With one node, a fault of one exporter leaves no values."""
    options = DemoOptions(duration=0, nodes=1, fault="one-exporter-down")
    text = await shown(capsys, options)
    assert "every exporter has a fault: one-exporter-down." in text
    assert "no value for any pod" in text


async def test_a_fault_has_its_place_where_there_is_no_duration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a duration, the introduction says when the fault is, and how to end the demo."""
    task = asyncio.create_task(demo(DemoOptions(fault="exporter-down"), QUICK))
    text = ""
    with capture_logs():
        async with asyncio.timeout(10):
            while "source" not in text:
                await asyncio.sleep(0.01)
                text += capsys.readouterr().out
            os.kill(os.getpid(), signal.SIGTERM)
            await task
    assert "From 20 s to 40 s, every exporter has a fault: exporter-down." in text
    assert "The demo ends on Ctrl-C." in text
    assert "The HPA requested the metric " in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


async def test_no_time_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    """A duration of zero ends before the first request."""
    assert (await shown(capsys, DemoOptions(duration=0))).endswith(
        "The demo ended before the HPA's first request.\n"
    )


async def test_the_port_is_the_one_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """The server listens on it; if it is in use, there is an error, not a traceback."""
    port = unused_port()
    text = await shown(capsys, DemoOptions(duration=0, port=port))
    assert f"serving at https://127.0.0.1:{port}:" in text
    taken = await asyncio.start_server(lambda _, __: None, "127.0.0.1", port)
    async with taken:
        with pytest.raises(
            ConfigurationError,
            match=f"^--port {port}: cannot listen on 127.0.0.1: Address already in use; ",
        ):
            await shown(capsys, DemoOptions(duration=0, port=port))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_it_still_sums_up(temporary: Path, number: signal.Signals) -> None:
    """Ctrl-C ends it like its duration: the summary, status 0, nothing left behind."""
    its_folder = f"import tempfile; tempfile.tempdir = {str(temporary)!r}"
    async with started("demo", preamble=its_folder) as process:
        assert process.stdout is not None
        while b"source exporters" not in await process.stdout.readline():
            assert not process.stdout.at_eof()
        assert len(kubeconfigs(temporary)) == 1
        process.send_signal(number)
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert b"The HPA requested the metric " in out
    assert not os.listdir(temporary)  # noqa: PTH208 - a list of names is what is wanted
