"""A real Prometheus on loopback, as a process that ends with its context.

It is Debian's package `prometheus`, or the programs of a release: $PROMETHEUS is the path
of its `prometheus`; `promtool` is beside it or in the PATH.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml

from metrics_server.tls.authority import KeyPair
from tests.support.peers import HOST

# It starts in some 100 ms; on a busy machine, in more.
_PATIENCE_SECONDS = 60.0
_LISTENING = re.compile(r'msg="Listening on".* address=\S+:(\d+)')
_READY = "Server is ready to receive web requests"
# It takes a third less CPU if it collects its garbage seldom, and has one thread.
_FRUGAL = {"GOGC": "400", "GOMAXPROCS": "1"}

Setting = object


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; without it the test is skipped, except in CI."""
    named = os.environ.get("PROMETHEUS")
    beside = Path(named).with_name(name) if named else None
    found = str(beside) if beside is not None and beside.exists() else shutil.which(name)
    if found is None:
        if "CI" in os.environ:
            pytest.fail(f"{name} is not installed: .ci/run must install it")
        pytest.skip(
            f"{name} is not installed: install Debian's package prometheus, or set PROMETHEUS to "
            "the path of the prometheus of a release"
        )
    return found


class Prometheus:
    """A Prometheus that can be stopped and restarted.

    Args:
        folder: an empty folder, for its configuration and data.
        scrape: the jobs under `scrape_configs`; an interval of a job may be as short as 100 ms.
        samples: initial samples in the OpenMetrics format, with timestamps.
        prefix: the path of its URL, as behind a reverse proxy.
        web: the web configuration file: TLS, basic authentication.
        flags: more flags, such as "--query.timeout=1s".
        settings: more top-level settings, such as `global`.
        environment: variables to set; by default, for less CPU.

    Attributes:
        url: its URL, with the prefix; after the first start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        scrape: Sequence[Mapping[str, Setting]] = (),
        samples: str = "",
        prefix: str = "",
        web: Mapping[str, Setting] | None = None,
        flags: Sequence[str] = (),
        settings: Mapping[str, Setting] | None = None,
        environment: Mapping[str, str] = _FRUGAL,
    ) -> None:
        self._program = program("prometheus")
        self._folder = folder
        self._scheme = "https" if web is not None and "tls_server_config" in web else "http"
        self._prefix = prefix.rstrip("/")
        self._flags = [*flags]
        self._environment = environment
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        configuration = {"scrape_configs": [*map(dict, scrape)], **(settings or {})}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
        if web is not None:
            (folder / "web.yaml").write_text(yaml.safe_dump(dict(web)), encoding="utf-8")
            self._flags.append(f"--web.config.file={folder / 'web.yaml'}")
        if samples:
            _fill(folder, samples)

    @property
    def url(self) -> str:
        """Its URL."""
        assert self._port, "it was not started"
        return f"{self._scheme}://{HOST}:{self._port}{self._prefix}"

    @property
    def log(self) -> str:
        """Its log."""
        return "\n".join(self._lines)

    def start(self) -> None:
        """Start it, at the same address each time, and return when it is ready."""
        ready = threading.Event()
        self._process = subprocess.Popen(  # noqa: S603 - the tests' own command
            [
                self._program,
                f"--config.file={self._folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={HOST}:{self._port}",
                f"--web.external-url={self._prefix or '/'}/",
                "--web.enable-lifecycle",
                *self._flags,
            ],
            env={**os.environ, **self._environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._follow, args=(self._process, ready), daemon=True).start()
        if not ready.wait(_PATIENCE_SECONDS) or self._process.poll() is not None:
            self.stop()
            raise AssertionError(f"Prometheus did not start:\n{self.log}")

    def stop(self) -> None:
        """Stop it; its data is kept."""
        if self._process is not None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(_PATIENCE_SECONDS)
            finally:
                self._process.kill()
                self._process.wait()
                self._process = None

    def pause(self) -> None:
        """Make it hang: it accepts connections, but answers nothing until it resumes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # Only then have all of its threads stopped.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let it continue."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def wait_for_scrapes(self, targets: int) -> None:
        """Return once it has stored a scrape of each target, successful or not."""
        query = f"{self.url}/api/v1/query?query=count(up)%20%3E%3D%20{targets}"
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with urlopen(query, timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310 - a local URL
                if json.load(answer)["data"]["result"]:
                    return
            time.sleep(0.1)
        raise AssertionError(f"Prometheus does not scrape all {targets} targets:\n{self.log}")

    def kill(self) -> None:
        """Kill it, as if its node had failed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _follow(self, process: "subprocess.Popen[str]", ready: threading.Event) -> None:
        assert process.stderr is not None
        is_ready = listens = False
        with process.stderr as log:
            for line in log:
                self._lines.append(line.rstrip("\n"))
                if found := _LISTENING.search(line):
                    self._port, listens = int(found[1]), True
                # In either order.
                is_ready = is_ready or _READY in line
                if is_ready and listens:
                    ready.set()
        # It has ended, ready or not.
        ready.set()


@contextmanager
def running(prometheus: Prometheus) -> Iterator[Prometheus]:
    """Run it for as long as the context."""
    try:
        prometheus.start()
        yield prometheus
    finally:
        prometheus.stop()


@asynccontextmanager
async def running_beside(prometheus: Prometheus) -> AsyncIterator[Prometheus]:
    """The same without blocking the event loop, which may serve the pages it scrapes."""
    try:
        await asyncio.to_thread(prometheus.start)
        yield prometheus
    finally:
        await asyncio.to_thread(prometheus.stop)


def behind_tls(folder: Path, pair: KeyPair, client_ca: bytes | None = None) -> dict[str, Setting]:
    """A web configuration with TLS.

    Args:
        folder: for the files.
        pair: its certificate and key.
        client_ca: the authority that must have signed client certificates, if any.
    """
    files = {"web.crt": pair.certificate, "web.key": pair.key, "clients.crt": client_ca or b""}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    tls: dict[str, Setting] = {
        "cert_file": str(folder / "web.crt"),
        "key_file": str(folder / "web.key"),
    }
    if client_ca is not None:
        tls["client_auth_type"] = "RequireAndVerifyClientCert"
        tls["client_ca_file"] = str(folder / "clients.crt")
    return {"tls_server_config": tls}


def _fill(folder: Path, samples: str) -> None:
    """Write samples into its database."""
    file = folder / "samples.txt"
    file.write_text(samples.removesuffix("# EOF\n") + "# EOF\n", encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - the tests' own command
        [
            program("promtool"),
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            str(file),
            str(folder / "data"),
        ],
        env={**os.environ, **_FRUGAL},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"promtool:\n{done.stdout}{done.stderr}"
