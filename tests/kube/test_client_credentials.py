"""A Kubernetes client's credentials, and where they come from."""

import base64
import json
import stat
import sys
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from metrics_server.errors import ConfigurationError, KubernetesError
from metrics_server.kube.client import connect
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected, serving


async def tell_authorization(request: web.Request) -> web.Response:
    """Answer with the credential that was sent."""
    return web.Response(text=request.headers.get("Authorization", "none"))


async def test_a_credential_is_sent_and_never_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The token of a kubeconfig reaches the server, but neither a log nor an error."""
    caplog.set_level(0)

    async def refuse_after_look(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer s3cret"
        raise web.HTTPForbidden

    async with (
        serving(refuse_after_look) as url,
        connected(write_kubeconfig(tmp_path / "k", url, user={"token": "s3cret"})) as client,
    ):
        with pytest.raises(KubernetesError) as caught:
            await client.get("/version", {}, timeout=5)
    assert caught.value.code == 403
    assert "s3cret" not in f"{caught.value}{caplog.text}{capfd.readouterr()}"


async def test_a_rotated_token_is_reloaded(tmp_path: Path) -> None:
    """A rejected token is read from its file again for the next call."""
    token = tmp_path / "token"
    token.write_text("old")

    async def only_new(request: web.Request) -> web.Response:
        if request.headers["Authorization"] == "Bearer new":
            return web.Response(text="ok")
        raise web.HTTPUnauthorized

    kubeconfig = tmp_path / "k"
    async with serving(only_new) as url:
        write_kubeconfig(kubeconfig, url, user={"tokenFile": str(token)})
        async with connected(kubeconfig) as client:
            token.write_text("new")
            with pytest.raises(KubernetesError) as caught:
                await client.get("/version", {}, timeout=5)
            assert caught.value.code == 401
            assert await client.get("/version", {}, timeout=5) == b"ok"


async def test_a_credential_plugin_is_run(tmp_path: Path) -> None:
    """A kubeconfig may name a program that prints the token, as clouds' kubeconfigs do."""
    plugin = tmp_path / "plugin"
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "printed"},
    }
    plugin.write_text(f"#!{sys.executable}\nprint({json.dumps(credential)!r})\n")
    plugin.chmod(stat.S_IRWXU)
    user = {"exec": {"apiVersion": credential["apiVersion"], "command": str(plugin)}}
    async with serving(tell_authorization) as url:
        kubeconfig = write_kubeconfig(tmp_path / "k", url, user=user)
        async with connected(kubeconfig) as client:
            assert await client.get("/version", {}, timeout=5) == b"Bearer printed"


async def test_the_environment_names_the_kubeconfig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a named file, $KUBECONFIG is used, and some of its files may be missing."""
    user = {"username": "u", "password": "p"}
    async with serving(tell_authorization) as url:
        kubeconfig = write_kubeconfig(tmp_path / "k", url, user=user)
        monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}:{kubeconfig}")
        async with connected(None) as client:
            assert client.host == url
            basic = f"Basic {base64.b64encode(b'u:p').decode()}"
            assert await client.get("/version", {}, timeout=5) == basic.encode()


async def test_the_home_directory_has_a_kubeconfig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without $KUBECONFIG either, ~/.kube/config is used."""
    (tmp_path / ".kube").mkdir()
    write_kubeconfig(tmp_path / ".kube" / "config", "http://127.0.0.1:1")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    async with connected(None) as client:
        assert client.host == "http://127.0.0.1:1"


async def test_a_missing_configuration_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any configuration, the error says what was tried and what to set."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError) as caught:
        await connect(None)
    for part in (str(tmp_path / "missing"), "KUBERNETES_SERVICE_HOST", "--kubeconfig"):
        assert part in str(caught.value)


async def test_a_pod_without_its_token_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cluster without a mounted service account, the error says so."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(ConfigurationError, match="service account of this pod cannot be used"):
        await connect(None)


@pytest.mark.parametrize("content", ["", "[]", "{", "clusters: 3", "current-context: none"])
async def test_a_malformed_kubeconfig_is_reported(tmp_path: Path, content: str) -> None:
    """The error for a file that is not a kubeconfig names it, whatever it contains."""
    kubeconfig = tmp_path / "k"
    kubeconfig.write_text(content)
    with pytest.raises(ConfigurationError, match=f"kubeconfig {kubeconfig} cannot be used"):
        await connect(kubeconfig)


async def test_a_broken_kubeconfig_keeps_its_secret(tmp_path: Path) -> None:
    """An error about a user's entry names the file, but does not repeat the entry."""
    kubeconfig = write_kubeconfig(tmp_path / "k", "http://127.0.0.1:1")
    config = json.loads(kubeconfig.read_text())
    config["users"] = [{"name": "test", "token": "s3cret"}]
    kubeconfig.write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match="it has no user") as caught:
        await connect(kubeconfig)
    assert "s3cret" not in str(caught.value)


async def test_credentials_that_cannot_be_reloaded_are_kept(tmp_path: Path) -> None:
    """While its token file is missing, the client keeps its credentials, and logs this once."""
    answers = iter([401, 401, 200])

    async def refuse_at_first(_: web.Request) -> web.Response:
        return web.Response(status=next(answers))

    async with serving(refuse_at_first) as url:
        kubeconfig = tmp_path / "k"
        token = tmp_path / "token"
        token.write_text("t")
        write_kubeconfig(kubeconfig, url, user={"tokenFile": str(token)})
        async with connected(kubeconfig) as client:
            token.unlink()
            with capture_logs() as logs:
                for _ in range(2):
                    with pytest.raises(KubernetesError):
                        await client.get("/version", {}, timeout=5)
                assert await client.get("/version", {}, timeout=5) == b""
            (line,) = logs
            assert line["event"] == "credentials not reloaded, keeping the current ones"
            assert str(token) in line["error"]


async def test_a_missing_kubeconfig_is_reported(tmp_path: Path) -> None:
    """If the named file is missing, no other is used instead."""
    with pytest.raises(ConfigurationError, match="missing does not exist"):
        await connect(tmp_path / "missing")
