import asyncio
import base64
import ssl
import stat
from pathlib import Path

import pytest

from metrics_server.commands.certs import CertsOptions, write_certificates
from metrics_server.errors import ConfigurationError
from metrics_server.http.listener import listening
from metrics_server.tls.authority import KeyPair
from metrics_server.tls.certificates import read_pair
from metrics_server.tls.context import ListeningContext
from tests.support.peers import HOST, ask, server, trusting


def options(out: Path) -> CertsOptions:
    """Options for a folder that does not exist yet."""
    return CertsOptions(service="metrics", namespace="gpu", out=out / "new" / "folder", days=30)


async def test_what_is_written_serves_the_service(tmp_path: Path) -> None:
    """A client that trusts ca.crt accepts tls.crt for exactly the Service's names."""

    def written() -> tuple[KeyPair, bytes]:
        chosen = options(tmp_path)
        write_certificates(chosen)
        pair = read_pair(chosen.out / "tls.crt", chosen.out / "tls.key")
        return pair, (chosen.out / "ca.crt").read_bytes()

    pair, bundle = await asyncio.to_thread(written)
    client = trusting(bundle)
    async with listening(server(), HOST, 0, ListeningContext(pair)) as (_, port):
        for name in ("metrics", "metrics.gpu", "metrics.gpu.svc", "metrics.gpu.svc.cluster.local"):
            assert (await ask(port, client, name=name)).text == "nobody"
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask(port, client, name="metrics.other.svc")


def test_only_the_owner_reads_the_key(tmp_path: Path) -> None:
    """The key has mode 0600."""
    chosen = options(tmp_path)
    write_certificates(chosen)
    assert stat.S_IMODE((chosen.out / "tls.key").stat().st_mode) == 0o600
    assert sorted(path.name for path in chosen.out.iterdir()) == ["ca.crt", "tls.crt", "tls.key"]


@pytest.mark.parametrize("name", ["ca.crt", "tls.crt", "tls.key"])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    """If one of the files exists, none is written."""
    chosen = options(tmp_path)
    chosen.out.mkdir(parents=True)
    (chosen.out / name).write_bytes(b"precious")
    with pytest.raises(ConfigurationError, match=f"{name} would be overwritten"):
        write_certificates(chosen)
    assert [path.read_bytes() for path in chosen.out.iterdir()] == [b"precious"]


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    """A file in place of the folder is an error that names the flag."""
    (tmp_path / "new").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="--out"):
        write_certificates(options(tmp_path))


def test_a_person_learns_what_to_do(tmp_path: Path) -> None:
    """The commands are complete: names, files, and the bundle, which contains no key."""
    chosen = options(tmp_path)
    told = write_certificates(chosen)
    bundle = base64.b64encode((chosen.out / "ca.crt").read_bytes()).decode()
    assert f"kubectl -n gpu create secret tls metrics-tls --cert={chosen.out}/tls.crt" in told
    assert f'"caBundle":"{bundle}"' in told
    for name in ("v1beta1.external.metrics.k8s.io", "v1beta2.custom.metrics.k8s.io"):
        assert f"kubectl patch apiservice {name} --type=merge" in told
    key = KeyPair(b"", (chosen.out / "tls.key").read_bytes()).key
    assert base64.b64encode(key).decode() not in told
