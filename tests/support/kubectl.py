"""kubectl, run as a user runs it."""

import asyncio
import os
from pathlib import Path

from msgspec import Struct


class Ran(Struct, frozen=True):
    """The result of a kubectl run."""

    status: int
    out: str
    err: str

    @property
    def table(self) -> list[list[str]]:
        """Its output as rows of cells."""
        return [line.split() for line in self.out.splitlines()]


class Kubectl:
    """Runs kubectl.

    Args:
        program: the path of kubectl.
        kubeconfig: the cluster.
        home: where it caches.
    """

    def __init__(self, program: str, kubeconfig: Path, home: Path) -> None:
        self._program = program
        self._arguments = (f"--kubeconfig={kubeconfig}", f"--cache-dir={home / 'cache'}")
        # It ends before garbage would matter.
        self._environment = {"HOME": str(home), "PATH": os.environ["PATH"], "GOGC": "off"}

    async def __call__(self, *arguments: str | Path) -> Ran:
        """Run it, and wait until it ends."""
        process = await asyncio.create_subprocess_exec(
            self._program,
            *self._arguments,
            *arguments,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), 90)
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())
