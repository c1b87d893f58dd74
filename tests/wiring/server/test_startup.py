"""Starting a server: its certificate, and unusable settings."""

import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from msgspec import structs

from metrics_server.errors import ConfigurationError, KubernetesError
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.authority import Authority
from metrics_server.wiring.options import ServeOptions
from metrics_server.wiring.server import running
from tests.support.clients import Client
from tests.support.harness import configuration, write_kubeconfig
from tests.support.server import write_pair


@pytest.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[Path]:
    """A kubeconfig for the API of an empty cluster."""
    path = tmp_path / "kubeconfig"
    async with KubernetesAPI() as api:
        SimulatedTrust(api)
        write_kubeconfig(path, api.url, b"")
        yield path


async def test_its_own_certificate_is_good_for_this_machine(kubeconfig: Path) -> None:
    """Without certificate files, it creates a certificate that verifies for both local names."""
    options = ServeOptions(kubeconfig=kubeconfig, secure_port=0)
    async with running(options, configuration()) as server:
        assert server.bundle is not None
        port = server.url.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost"):
            async with Client(f"https://{host}:{port}", server.bundle) as client:
                assert (await client.ask("/livez")).text == "ok"
        async with Client(server.url, Authority("another").bundle) as client:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await client.ask("/livez")


async def test_a_certificate_from_files(kubeconfig: Path, tmp_path: Path) -> None:
    """Certificate files are served; the server knows no authority for them."""
    authority = Authority("from-disk")
    certificate, key = write_pair(tmp_path, authority)
    options = ServeOptions(
        kubeconfig=kubeconfig, secure_port=0, tls_cert_file=certificate, tls_private_key_file=key
    )
    async with running(options, configuration()) as server:
        assert server.bundle is None
        async with Client(server.url, authority.bundle) as client:
            assert (await client.ask("/livez")).text == "ok"


async def test_each_check_of_the_certificate_has_its_own_path(
    kubeconfig: Path, tmp_path: Path
) -> None:
    """/readyz/certificate reports an expiring certificate, while the files are watched."""
    authority = Authority("from-disk")
    begun = datetime.now(UTC) - timedelta(days=9.5)
    pair = authority.issue(["127.0.0.1"], timedelta(days=10), now=begun)
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    options = ServeOptions(
        kubeconfig=kubeconfig, secure_port=0, tls_cert_file=certificate, tls_private_key_file=key
    )
    async with (
        running(options, configuration()) as server,
        Client(server.url, authority.bundle, None) as client,
    ):
        answer = await client.ask("/readyz")
        assert "[-]certificate failed: the serving certificate expires at" in answer.text
        assert "[+]follow-certificate ok" in answer.text


async def refusal(options: ServeOptions) -> str:
    """The error with which a server does not start."""
    with pytest.raises(ConfigurationError) as raised:
        async with running(options, configuration()):
            pass
    return str(raised.value)


async def test_settings_that_cannot_be_used(kubeconfig: Path, tmp_path: Path) -> None:
    """Each is an error at startup that names the flag."""
    certificate, key = write_pair(tmp_path, Authority("from-disk"))
    alone = ServeOptions(kubeconfig=kubeconfig, secure_port=0, tls_cert_file=certificate)
    assert await refusal(alone) == "--tls-cert-file and --tls-private-key-file must be set together"
    both = structs.replace(alone, tls_private_key_file=key, self_managed_certs=True)
    assert "mutually exclusive" in await refusal(both)
    twice = structs.replace(alone, cert_dir=tmp_path)
    assert "--cert-dir" in await refusal(twice)
    key.unlink()
    absent = ServeOptions(
        kubeconfig=kubeconfig, secure_port=0, tls_cert_file=certificate, tls_private_key_file=key
    )
    assert str(key) in await refusal(absent)
    nowhere = ServeOptions(kubeconfig=tmp_path / "nowhere", secure_port=0)
    assert await refusal(nowhere) == f"the kubeconfig {tmp_path / 'nowhere'} does not exist"


async def test_exporters_that_contradict_the_flags(kubeconfig: Path) -> None:
    """Errors that depend on the flags are reported before any request is sent."""
    plain = ServeOptions(
        kubeconfig=kubeconfig, secure_port=0, exporters=("https://a/", "HTTP://b:9400/metrics")
    )
    auth = configuration({"exporters": {"scheme": "https", "auth": {"bearerTokenFile": "/token"}}})
    with pytest.raises(ConfigurationError) as raised:
        async with running(plain, auth):
            pass
    assert str(raised.value) == (
        "exporters: auth would be sent in the clear, because of --exporter HTTP://b:9400/metrics"
    )
    nothing = configuration({"exporters": {"services": []}})
    with pytest.raises(ConfigurationError, match=r"^exporters\.services: is empty, and neither"):
        async with running(ServeOptions(kubeconfig=kubeconfig, secure_port=0), nothing):
            pass
    async with running(plain, nothing):
        pass


async def test_a_port_that_is_taken(kubeconfig: Path) -> None:
    """The error says which port, and that it is in use."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = await refusal(ServeOptions(kubeconfig=kubeconfig, secure_port=port))
    assert message.startswith(f"--bind-address 127.0.0.1 --secure-port {port}: cannot listen: ")
    assert "address already in use" in message.lower()


async def test_the_cluster_must_tell_whom_to_trust(tmp_path: Path) -> None:
    """Without it nobody could be authenticated: startup fails, and says what is missing."""
    path = tmp_path / "kubeconfig"
    options = ServeOptions(kubeconfig=path, secure_port=0)
    write_kubeconfig(path, "http://127.0.0.1:1", b"")
    with pytest.raises(KubernetesError, match=r"^the Kubernetes API at \S+ cannot be reached: "):
        async with running(options, configuration()):
            pass
    async with KubernetesAPI() as api:
        write_kubeconfig(path, api.url, b"")
        message = await refusal(options)
    assert message.startswith(
        "the ConfigMap kube-system/extension-apiserver-authentication does not exist"
    )
