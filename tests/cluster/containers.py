"""Containers that the tests' kubelets start for a pod.

The metrics server is a real process with its pod's arguments, token, ConfigMaps and Secrets; an
exporter is a real socket with a page of simulated GPUs.
"""

import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web

from metrics_server.errors import KubernetesError
from tests.cluster.api import PatientClient
from tests.cluster.control_plane import HOST, PORT, running
from tests.cluster.pods import Pod

EXPORTER_PORT = 9400
SERVER_PORT = 6443

_RETRY_SECONDS = 0.2
_TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
# In its own mount namespace, the process finds its token where a pod has it.
_AS_IN_A_POD = (
    f"mount -t tmpfs tmpfs /run && mkdir -p {_TOKEN_FOLDER} && "
    f'mount --bind "$1" {_TOKEN_FOLDER} && shift && exec "$@"'
)


class Container:
    """A container that runs and is always ready."""

    def runs(self) -> bool:
        """Whether it is still running."""
        return True

    async def ready(self) -> bool:
        """The result of the readiness probe."""
        return True


class ServerContainer(Container):
    """A container of the metrics server. Created by `metrics_server`.

    Args:
        process: the server.
        session: for the probe.
        url: of the probe.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, session: aiohttp.ClientSession, url: str
    ) -> None:
        self._process = process
        self._session = session
        self._url = url

    def runs(self) -> bool:
        """Whether it is still running."""
        return self._process.returncode is None

    async def ready(self) -> bool:
        """The readiness probe's result; like a kubelet's, it does not verify."""
        try:
            async with self._session.get(self._url, ssl=False) as response:
                return response.ok
        except aiohttp.ClientError:
            return False

    def kill(self) -> None:
        """Kill it, like a power cut."""
        if self.runs():
            self._process.kill()

    async def wait(self) -> int:
        """Wait for its end; its exit status."""
        return await self._process.wait()


@asynccontextmanager
async def metrics_page(
    address: str, port: int, page: Callable[[], str | None]
) -> AsyncIterator[None]:
    """The metrics page of an exporter or of another pod, as a context.

    Args:
        address: the pod's.
        port: where the page is served.
        page: its text; None while it fails.
    """

    async def answer(_: web.Request) -> web.Response:
        text = page()
        return web.Response(
            status=HTTPStatus.INTERNAL_SERVER_ERROR if text is None else 200, text=text
        )

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def metrics_server(
    pod: Pod, address: str, folder: Path, files: Mapping[str, Path]
) -> AsyncIterator[ServerContainer]:
    """The metrics server as its pod runs it, as a context.

    Args:
        pod: the pod.
        address: the pod's; the server listens only there.
        folder: for the log; it contains what `mounted` put there.
        files: from `mounted`.
    """
    arguments = [argument.replace("=0.0.0.0", f"={address}") for argument in pod.container.args]
    # Longest first: one path may start with another.
    for path, volume in sorted(files.items(), reverse=True):
        arguments = [argument.replace(f"={path}", f"={volume}") for argument in arguments]
    async with (
        in_pod(pod, folder, folder / "log", "-m", "metrics_server", *arguments) as process,
        aiohttp.ClientSession() as session,
    ):
        url = f"https://{address}:{SERVER_PORT}{pod.container.readiness_probe.http_get.path}"
        yield ServerContainer(process, session, url)


@asynccontextmanager
async def in_pod(
    pod: Pod, folder: Path, log: Path, *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process that runs as in a pod's container, as a context.

    Args:
        pod: the pod.
        folder: as filled by `mounted`.
        log: receives its output.
        arguments: Python's.
    """
    async with running(
        log,
        *("unshare", "--mount", "sh", "-c", _AS_IN_A_POD, "sh", folder / "token"),
        *(sys.executable, *arguments),
        environment={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "PYTHONUNBUFFERED": "1",
            "KUBERNETES_SERVICE_HOST": HOST,
            "KUBERNETES_SERVICE_PORT": str(PORT),
        },
        patience=pod.spec.termination_grace_period_seconds,
    ) as process:
        yield process


async def completed(client: PatientClient, pod: Pod, folder: Path) -> bool:
    """Run a pod's Python command to its end; whether it succeeds."""
    program, *arguments = pod.container.command
    assert program == "python", pod
    await mounted(client, pod, folder)
    output = folder / "output"
    async with in_pod(pod, folder, output, *arguments, *pod.container.args) as process:
        return await process.wait() == 0


async def mounted(client: PatientClient, pod: Pod, folder: Path) -> dict[str, Path]:
    """The folders for a pod's ConfigMaps and Secrets, by mount path.

    The service account's token is added. Waits for missing objects.
    """
    namespace = f"/api/v1/namespaces/{pod.metadata.namespace}"
    account = f"{namespace}/serviceaccounts/{pod.spec.service_account_name}/token"
    answer = await client.send("POST", account, {"spec": {}})
    token = msgspec.json.decode(answer, type=_TokenRequest).status["token"]
    roots = await _data(client, f"{namespace}/configmaps/kube-root-ca.crt")
    _fill(folder / "token", roots | {"token": token, "namespace": pod.metadata.namespace})
    files = {}
    paths = {mount.name: mount.mount_path for mount in pod.container.volume_mounts}
    for volume in pod.spec.volumes:
        if volume.config_map is not None:
            data = await _data(client, f"{namespace}/configmaps/{volume.config_map.name}")
        elif volume.secret is not None:
            encoded = await _data(client, f"{namespace}/secrets/{volume.secret.secret_name}")
            data = {key: base64.b64decode(text).decode() for key, text in encoded.items()}
        else:
            continue
        files[paths[volume.name]] = folder / volume.name
        _fill(folder / volume.name, data)
    return files


class _TokenRequest(msgspec.Struct):
    status: dict[str, str]


class _Data(msgspec.Struct):
    data: dict[str, str]


async def _data(client: PatientClient, path: str) -> dict[str, str]:
    while True:
        try:
            return msgspec.json.decode(await client.get(path), type=_Data).data
        except KubernetesError as error:
            if error.code != HTTPStatus.NOT_FOUND:
                raise
        await asyncio.sleep(_RETRY_SECONDS)


def _fill(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
