"""Commands that people run against a demo from another terminal."""

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Literal

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from metrics_server.commands.doctor import examine
from metrics_server.doctor.aiming import Aim
from metrics_server.doctor.reader import Subject
from metrics_server.simulator.demo.options import DemoOptions
from metrics_server.simulator.demo.run import demo
from tests.support import carried
from tests.support.demos import QUICK, kubeconfigs
from tests.support.kubectl import Kubectl
from tests.support.waiting import eventually, until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("fault", [None, "exporter-error"])
async def test_the_doctor_finds_what_is_wrong(
    capsys: pytest.CaptureFixture[str], temporary: Path, fault: Literal["exporter-error"] | None
) -> None:
    """The server seems to be installed in the cluster, and only the fault is wrong."""

    async def found() -> set[str]:
        (folder,) = kubeconfigs(temporary)
        outcomes = await examine(Aim(folder / "kubeconfig"), Subject(direct=False))
        return {problem.name for one in outcomes for problem in one.problems}

    wrong = set() if fault is None else {"exporters-failed"}
    options = DemoOptions(duration=None, fault=fault)
    # The fault begins after 6 seconds, and lasts 6 seconds.
    tempo = structs.replace(QUICK, period=100, open_ended=18)
    sign = "doctor --hpa" if fault is None else "fault begins"
    with capture_logs():
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(demo(options, tempo))
            await until(lambda: sign in capsys.readouterr().out)
            await eventually(found, lambda names: names == wrong, 40)
            os.kill(os.getpid(), signal.SIGINT)


async def test_kubectl_is_pointed_to_the_page(
    capsys: pytest.CaptureFixture[str], temporary: Path
) -> None:
    """It can change the cluster, and kubectl cannot."""
    options = DemoOptions(duration=None, page=True, page_port=0)
    text = ""

    def printed(what: str) -> bool:
        nonlocal text
        text += capsys.readouterr().out
        return what in text

    with capture_logs():
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(demo(options, QUICK))
            await until(lambda: printed("in a browser"))
            (folder,) = kubeconfigs(temporary)
            kubectl = Kubectl(carried.kubectl(), folder / "kubeconfig", temporary)
            ran = await kubectl("scale", "deployment", "inference", "--replicas=1")
            os.kill(os.getpid(), signal.SIGINT)
    page = re.search(r"^  (http://127\.0\.0\.1:\d+/)  shows it", text, re.MULTILINE)
    assert page is not None
    assert ran.err.endswith(f"and the HPA at {page[1]}\n")


async def test_the_hpa_has_events_of_a_fault(
    capsys: pytest.CaptureFixture[str], temporary: Path
) -> None:
    """When its metric fails, and when it recovers."""
    options = DemoOptions(duration=None, fault="exporter-error")
    reasons = ""

    async def events() -> str:
        nonlocal reasons
        (folder,) = kubeconfigs(temporary)
        kubectl = Kubectl(carried.kubectl(), folder / "kubeconfig", temporary)
        path = "jsonpath={.items[*]['involvedObject.name','reason']}"
        reasons = (await kubectl("get", "events", f"--output={path}")).out
        return reasons

    with capture_logs():
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(demo(options, structs.replace(QUICK, open_ended=3)))
            await until(lambda: "fault ends" in capsys.readouterr().out)
            await eventually(events, lambda found: "MeasurementRecovered" in found, 20)
            os.kill(os.getpid(), signal.SIGINT)
    assert "MeasurementFailed" in reasons
    assert "inference" in reasons
