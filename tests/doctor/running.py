"""The commands that inspect a cluster, run as by a person, but in a thread."""

import asyncio
from typing import Protocol

import pytest
from msgspec import Struct

from metrics_server.commands.main import main
from tests.doctor.scene import Scene


class Ran(Struct, frozen=True):
    """How a command ended."""

    status: int
    out: str
    err: str


class Run(Protocol):
    """Runs a command."""

    async def __call__(self, command: str, *arguments: str) -> Ran:
        """Run it to its end."""
        ...


def runner(scene: Scene, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command against the scene's cluster."""

    async def run(command: str, *arguments: str) -> Ran:
        line = [command, "--kubeconfig", str(scene.kubeconfig), *arguments]
        if command == "doctor" and "--measure-interval" not in arguments:
            line += ["--measure-interval", "0s"]  # it takes seconds
        capsys.readouterr()
        status = await asyncio.to_thread(status_of, line)
        return Ran(status, *capsys.readouterr())

    return run


def status_of(line: list[str]) -> int:
    """Run a command to its end, and return its exit status."""
    with pytest.raises(SystemExit) as ended:
        main(line)
    assert isinstance(ended.value.code, int)
    return ended.value.code
