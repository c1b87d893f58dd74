"""The proxy from the environment, on the way to the Kubernetes API."""

from pathlib import Path

import pytest
from aiohttp import hdrs, web

from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected, serving

API = "http://kubernetes.invalid:6443"


async def _echo(request: web.Request) -> web.Response:
    """The request that a proxy gets: a URL with its host, and the credentials."""
    return web.json_response([str(request.url), request.headers.get(hdrs.AUTHORIZATION)])


async def test_the_proxy_of_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server is reachable only through the proxy."""
    async with serving(_echo) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        async with connected(write_kubeconfig(tmp_path / "kubeconfig", API)) as client:
            answer = await client.get("/api/v1/pods", {}, timeout=10)
    assert answer == f'["{API}/api/v1/pods", "Bearer test"]'.encode()


async def test_no_proxy_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host in `no_proxy` is connected to directly."""
    async with serving(_echo) as api:
        monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with connected(write_kubeconfig(tmp_path / "kubeconfig", api)) as client:
            answer = await client.get("/", {}, timeout=10)
    assert answer == f'["{api}/", "Bearer test"]'.encode()


async def test_passwords_of_the_user_are_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kubeconfig without credentials gets none from ~/.netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with serving(_echo) as api:
        kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", api, user={})
        async with connected(kubeconfig) as client:
            answer = await client.get("/", {}, timeout=10)
    assert answer == f'["{api}/", null]'.encode()
