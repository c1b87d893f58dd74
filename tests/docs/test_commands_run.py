"""Every documented command that can run is run, in a simulated cluster."""

import asyncio
import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.deployments.manifests import ROOT
from tests.docs.command_lines import NOT_RUN, completed, excuse, lines
from tests.doctor.scene import Scene, scene
from tests.support.forking import DEVNULL, PIPE, STDOUT, ForkedProcess, fork_program

AT_ONCE = 2
SECONDS = 60


async def ran(line: str, cluster: Scene, folder: Path) -> tuple[int | None, str]:
    """A line's exit status and output."""
    line = line.replace("{pod}", cluster.pod_name).replace("{folder}", str(folder))
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "KUBECONFIG": str(cluster.kubeconfig),
        # Programs in Go, such as kubectl, end before garbage would matter.
        "GOGC": "off",
    }
    program, *arguments = shlex.split(line)
    process: ForkedProcess | asyncio.subprocess.Process
    # As a plugin of kubectl, the program starts from scratch.
    if program == "gpu-metrics-server":
        preamble = f"import os; os.environ.update({environment})"
        process = await fork_program(*arguments, preamble=preamble, stdout=PIPE, stderr=STDOUT)
    else:
        process = await asyncio.create_subprocess_shell(
            line, cwd=ROOT, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT
        )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    return process.returncode, out.decode()


def is_answered(line: str, status: int | None, out: str) -> bool:
    """Whether a line did what its page says: a request for a metric has a value."""
    asks = "/gpu_utilization?" in line or line.endswith("/gpu_utilization")
    return status == 0 and (not asks or '"value":"40"' in out)


@pytest.mark.slow
async def test_commands_run(tmp_path: Path) -> None:
    """Each exits with status 0 in a cluster where everything works."""
    if shutil.which("kubectl") is None:
        assert "CI" not in os.environ, "kubectl is not installed"
        pytest.skip("kubectl is not installed")
    pending = sorted({completed(line) for _, line in lines() if excuse(line) is None})
    assert len(pending) > 35
    failed: dict[str, str] = {}
    places = asyncio.Semaphore(AT_ONCE)
    async with scene(tmp_path) as cluster:

        async def check(line: str) -> None:
            async with places:
                status, out = await ran(line, cluster, tmp_path)
            if not is_answered(line, status, out):
                failed[line] = f"status {status}: {out[-300:]}"

        async with asyncio.TaskGroup() as group:
            for line in pending:
                group.create_task(check(line))
    text = "\n".join(f"{line}: {why}" for line, why in failed.items())
    assert not failed, text


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", ["kubectl get hpa inferense", "gpu-metrics-server ask gpu_utilisation -n default"]
)
async def test_a_wrong_command_would_be_noticed(tmp_path: Path, line: str) -> None:
    """A misspelled name fails."""
    if line.startswith("kubectl") and shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    async with scene(tmp_path) as cluster:
        assert not is_answered(line, *await ran(line, cluster, tmp_path))


def test_every_excuse_is_needed() -> None:
    """Each is for some line."""
    assert {excuse(line) for _, line in lines()} - {None} == set(NOT_RUN)
