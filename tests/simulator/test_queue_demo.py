"""The queue demo: the real server, engines' pages, and a workload that scales to zero."""

import asyncio
import os
import re
import signal
from typing import get_args

import pytest
from structlog.testing import capture_logs

from metrics_server.errors import ConfigurationError
from metrics_server.simulator.demo.options import DemoOptions, MetricType, Tempo
from metrics_server.simulator.demo.run import demo
from tests.support.demos import shown

pytestmark = pytest.mark.slow

QUICK = Tempo(
    sync=0.1,
    stabilization=0.3,
    loading=0.1,
    deleting=0.03,
    max_age=0.01,
    timeout=5,
    busy=1.5,
    quiet=1.5,
    service=0.15,
)
LINE = re.compile(
    r"^ +\d+ s  load +(?P<load>[\d.]+)/s  GPU utilization +(?P<gpu>\d+ %|no pod|unknown)  "
    r"waiting +(?P<waiting>[\d.]+|no pod|unknown) of 2  at the gateway +(?P<held>\d+|unknown)  "
    r"replicas +(?P<ready>\d+)/(?P<replicas>\d+) ready  (?P<reason>.+)$",
    re.MULTILINE,
)


async def shown_until_it_is_back(
    capsys: pytest.CaptureFixture[str], options: DemoOptions
) -> tuple[str, list[dict[str, str]]]:
    """A demo's output until the workload has been at zero and is busy again; and its lines.

    How many load cycles that takes depends on how busy the machine is: in one of them, the queue
    must have added pods.
    """
    task = asyncio.create_task(demo(options, QUICK))
    text, lines = "", list[dict[str, str]]()
    with capture_logs():
        async with asyncio.timeout(60):
            while not is_back(lines):
                assert not task.done(), "it ends when it is interrupted"
                await asyncio.sleep(0.01)
                text += capsys.readouterr().out
                lines = [match.groupdict() for match in LINE.finditer(text)]
            os.kill(os.getpid(), signal.SIGTERM)
            await task
    return text + capsys.readouterr().out, lines


def is_back(lines: list[dict[str, str]]) -> bool:
    """Whether GPUs are busy again after zero replicas."""
    return any(line["gpu"] == "100 %" for line in lines[place_of_zero(lines) :])


def place_of_zero(lines: list[dict[str, str]]) -> int:
    """The first line with zero replicas after the queue has added pods; or the end."""
    added = False
    for number, line in enumerate(lines):
        reason = line["reason"]
        added |= "llm_requests_waiting" in reason and "above the target of 2" in reason
        if added and line["replicas"] == "0":
            return number
    return len(lines)


@pytest.mark.parametrize("kind", get_args(MetricType))
async def test_the_queue_scales_to_zero_and_back(
    capsys: pytest.CaptureFixture[str], kind: MetricType
) -> None:
    """The queue adds pods while GPU utilization is 100 %; then zero; then the gateway wakes it."""
    options = DemoOptions(signal="queue", metric_type=kind)
    text, lines = await shown_until_it_is_back(capsys, options)
    replicas = [int(line["replicas"]) for line in lines]
    asleep = place_of_zero(lines)

    assert max(replicas[:asleep]) > 1
    # Lower values are from pods that have just become Ready.
    waiting = [line for line in lines[:asleep] if re.match(r"[1-9]", line["waiting"])]
    assert sum(line["gpu"] == "100 %" for line in waiting) > len(waiting) / 2 > 0

    woken = next(line for line in lines[asleep:] if line["replicas"] != "0")
    assert woken["reason"].startswith("inference_queue_size sums to ")
    assert "with no replicas: " in woken["reason"]
    assert int(woken["held"]) > 0
    assert (woken["gpu"], woken["waiting"]) == ("no pod", "no pod")

    summary = text[text.index("The HPA requested its metrics ") :]
    assert re.search(r"It scaled (twice|\d+ times), between 0 and \d+ replicas\.", summary)
    assert re.search(
        r"It went to zero (once|twice|\d times), and came back (once|twice|\d times)\.\n$", summary
    )


@pytest.mark.parametrize("kind", get_args(MetricType))
async def test_it_says_what_it_shows(capsys: pytest.CaptureFixture[str], kind: MetricType) -> None:
    """What is simulated, the times of requests, each metric's purpose, and how to ask by hand."""
    text = await shown(capsys, DemoOptions(duration=0, nodes=1, signal="queue", metric_type=kind))
    assert "1 nodes with 4 GPUs; a Deployment of vLLM pods,\n" in text
    assert "There are requests for 20 s, then none for 20 s" in text
    assert f"llm_requests_waiting        target 2 a pod, type {kind.capitalize()}: " in text
    path = {
        "pods": "custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/llm_requests_waiting",
        "external": "external.metrics.k8s.io/v1beta1/namespaces/default/llm_requests_waiting",
    }[kind]
    assert f"get --raw '/apis/{path}?labelSelector=app%3Dinference'" in text
    gateway = "default/inference_queue_size?labelSelector=app%3Dinference-gateway'"
    assert gateway in text
    assert text.endswith("The demo ended before the HPA's first request.\n")


async def test_a_fault_applies_to_gpu_exporters() -> None:
    """Mutually exclusive flags are an error, not a demo of something else."""
    with (
        capture_logs(),
        pytest.raises(ConfigurationError, match="--fault applies to GPU exporters"),
    ):
        await demo(DemoOptions(signal="queue", fault="exporter-down"))
