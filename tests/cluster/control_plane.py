"""A real control plane: etcd, kube-apiserver with its aggregator, controllers and scheduler.

Nothing in it is simulated. The nodes' part (kubelets, containers, GPUs) is played by
`tests.cluster.nodes`.
"""

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import yaml
from msgspec import Struct

from metrics_server.tls.authority import Authority, KeyPair
from tests.support import carried
from tests.support.kubectl import Kubectl
from tests.support.waiting import eventually

# The network for documentation (RFC 5737): loopback addresses are rejected as endpoints.
# `make cluster` runs the tests where there is no other network.
HOST = "192.0.2.1"
PORT = 6443

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


class ControlPlane(Struct, frozen=True):
    """A running control plane.

    Attributes:
        kubeconfig: of its administrator.
        bundle: verifies its API server, PEM.
        kubectl: as its administrator.
        api_server: its API server.
    """

    kubeconfig: Path
    bundle: bytes
    kubectl: Kubectl
    api_server: "APIServer"


class APIServer:
    """A kube-apiserver, which runs between `start` and `stop`.

    Args:
        command: starts it.
        files: its certificates.
        kubectl: as an administrator.
    """

    def __init__(self, command: Sequence[str | Path], files: "_Files", kubectl: Kubectl) -> None:
        self._command = command
        self._files = files
        self._kubectl = kubectl
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        log = self._files.folder / "kube-apiserver.log"
        await self._stack.enter_async_context(running(log, *self._command))
        await eventually(
            lambda: self._kubectl("get", "--raw", "/readyz"), lambda ran: ran.out == "ok", 60
        )

    async def stop(self) -> None:
        """Stop it."""
        await self._stack.aclose()

    def replace_front_proxy(self) -> None:
        """Make its next start use a new authority for front proxies, and a certificate from it."""
        self._files.write_front_proxy()


@asynccontextmanager
async def control_plane(
    programs: Path, folder: Path, gates: Sequence[str] = ()
) -> AsyncIterator[ControlPlane]:
    """A new control plane, as a context.

    Args:
        programs: the folder with PROGRAMS.
        folder: for its data, certificates and logs.
        gates: feature gates of the API server and the controllers, such as NAME=true.
    """
    await add_address(HOST)
    files = _Files(folder)
    kubectl = Kubectl(carried.kubectl(), files.admin, folder)
    commands: dict[str, tuple[str | Path, ...]] = {
        program: (programs / program, *flags) for program, flags in _flags(files).items()
    }
    for program in ("kube-apiserver", "kube-controller-manager") if gates else ():
        commands[program] += (f"--feature-gates={','.join(gates)}",)
    api_server = APIServer(commands.pop("kube-apiserver"), files, kubectl)
    async with AsyncExitStack() as stack:
        etcd = commands.pop("etcd")
        await stack.enter_async_context(running(folder / "etcd.log", *etcd))
        stack.push_async_callback(api_server.stop)
        await api_server.start()
        for program, command in commands.items():
            await stack.enter_async_context(running(folder / f"{program}.log", *command))
        yield ControlPlane(files.admin, files.bundle, kubectl, api_server)


@asynccontextmanager
async def running(
    log: Path, *command: str | Path, environment: dict[str, str] | None = None, patience: float = 30
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that runs within the context, and is terminated at the end.

    Args:
        log: receives its output.
        command: the program and its arguments.
        environment: its environment variables; this process's if None.
        patience: the seconds that it may take to stop before it is killed.
    """
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ if environment is None else environment,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), patience)
        except TimeoutError:
            process.kill()
            await process.wait()


async def add_address(address: str) -> None:
    """Add an address to this host."""
    command = ("ip", "address", "replace", f"{address}/32", "dev", "lo")
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0, command


class _Files:
    """The certificates, keys and kubeconfigs of a control plane."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = Authority("kubernetes")
        self.bundle = authority.bundle
        self.ca = self._write("ca.crt", authority.bundle)
        self.serving = self._pair("apiserver", authority.issue([HOST, "kubernetes.default.svc"]))
        self.write_front_proxy()
        self.accounts = self._pair("accounts", Authority("accounts").pair)
        self.admin = self._kubeconfig("admin", authority.issue_client("admin", ["system:masters"]))
        self.controllers = self._kubeconfig(
            "controllers", authority.issue_client("system:kube-controller-manager")
        )
        self.scheduler = self._kubeconfig(
            "scheduler", authority.issue_client("system:kube-scheduler")
        )

    def write_front_proxy(self) -> None:
        """Write an authority for front proxies, and a certificate signed by it."""
        authority = Authority("front-proxy")
        self.front_proxy_ca = self._write("front-proxy-ca.crt", authority.bundle)
        self.front_proxy = self._pair("proxy", authority.issue_client("front-proxy-client"))

    def _write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def _pair(self, name: str, pair: KeyPair) -> tuple[Path, Path]:
        return self._write(f"{name}.crt", pair.certificate), self._write(f"{name}.key", pair.key)

    def _kubeconfig(self, name: str, pair: KeyPair) -> Path:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": f"https://{HOST}:{PORT}",
                        "certificate-authority-data": _base64(self.bundle),
                    },
                }
            ],
            "users": [
                {
                    "name": "u",
                    "user": {
                        "client-certificate-data": _base64(pair.certificate),
                        "client-key-data": _base64(pair.key),
                    },
                }
            ],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        return self._write(f"{name}.kubeconfig", yaml.safe_dump(document).encode())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _flags(files: _Files) -> dict[str, list[str]]:
    store = "http://127.0.0.1:2379"
    return {
        "etcd": [
            f"--data-dir={files.folder / 'etcd'}",
            f"--listen-client-urls={store}",
            f"--advertise-client-urls={store}",
            "--listen-peer-urls=http://127.0.0.1:2380",
        ],
        "kube-apiserver": [
            f"--etcd-servers={store}",
            f"--bind-address={HOST}",
            f"--secure-port={PORT}",
            f"--tls-cert-file={files.serving[0]}",
            f"--tls-private-key-file={files.serving[1]}",
            f"--client-ca-file={files.ca}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--service-cluster-ip-range=198.51.100.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files.accounts[0]}",
            f"--service-account-signing-key-file={files.accounts[1]}",
            # The aggregation layer, as kubeadm sets it up; directly to a Service's pods, as
            # there is no kube-proxy here.
            f"--requestheader-client-ca-file={files.front_proxy_ca}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={files.front_proxy[0]}",
            f"--proxy-client-key-file={files.front_proxy[1]}",
            "--enable-aggregator-routing=true",
        ],
        "kube-controller-manager": [
            f"--kubeconfig={files.controllers}",
            f"--authentication-kubeconfig={files.controllers}",
            f"--authorization-kubeconfig={files.controllers}",
            "--leader-elect=false",
            # Each controller uses its own account, so that the HPA's has only its role.
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={files.accounts[1]}",
            f"--root-ca-file={files.ca}",
            # Missing heartbeats from kubelets must not evict pods.
            "--controllers=*,-node-lifecycle-controller",
            "--horizontal-pod-autoscaler-sync-period=1s",
        ],
        "kube-scheduler": [
            f"--kubeconfig={files.scheduler}",
            f"--authentication-kubeconfig={files.scheduler}",
            f"--authorization-kubeconfig={files.scheduler}",
            "--leader-elect=false",
        ],
    }
