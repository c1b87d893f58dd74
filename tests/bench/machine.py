"""The machine of a run, as the table names it."""

import os
import platform
import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct
from OpenSSL import SSL


class Machine(Struct, frozen=True):
    """A machine and its software.

    Attributes:
        cpu: the processor's model.
        cores: how many of them this process may use.
        python: the version of Python.
        openssl: the version that the server uses.
        python_openssl: the version that Python's ssl module uses.
        load: processes that were running or waiting, on average over the minute before the run.
        measured: when, in UTC.
    """

    cpu: str
    cores: int
    python: str
    openssl: str
    python_openssl: str
    load: float
    measured: str

    def __str__(self) -> str:
        cores = "core" if self.cores == 1 else "cores"
        return (
            f"{self.cpu}, {self.cores} {cores}; Python {self.python}; "
            f"{self.openssl} (Python's own: {self.python_openssl}); "
            f"load at the start {self.load:.1f}; {self.measured}"
        )


def this_machine() -> Machine:
    """This machine, with its load now."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        openssl=_version(SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode()),
        python_openssl=_version(ssl.OPENSSL_VERSION),
        load=os.getloadavg()[0],
        measured=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _cpu() -> str:
    """The model from proc_cpuinfo(5), which not every architecture lists."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*: (.+)$", info, re.MULTILINE)
    return model[1] if model else platform.machine()


def _version(text: str) -> str:
    """The version without the release date."""
    return " ".join(text.split()[:2])
