import asyncio
import base64
import json
import socket
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from metrics_server.errors import ConfigurationError, KubernetesError
from metrics_server.kube.client import (
    MAX_EVENT_BYTES,
    KubernetesClient,
    connect,
    keepalive_socket,
)
from metrics_server.simulator.kube.api import KubernetesAPI
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected, serving


async def tell_authorization(request: web.Request) -> web.Response:
    """Answer by the credential that came."""
    return web.Response(text=request.headers.get("Authorization", "none"))


async def test_get_gives_the_body(client: KubernetesClient) -> None:
    """A 2xx is answered by its body, byte by byte."""
    assert json.loads(await client.get("/version", {}, timeout=5))["minor"] == "36"


async def test_a_query_arrives_as_it_was_given(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    """Whatever stands in a parameter is encoded on the way out and decoded on the way in."""
    query = {"labelSelector": "a in (b, c),!d", "fieldSelector": "metadata.name=x&y+z%"}
    await client.get("/api/v1/pods", query, timeout=5)
    assert dict(api.requests[-1].query) == query


async def test_a_refusal_has_the_words_of_the_status(client: KubernetesClient) -> None:
    """What the API says of an error is what a person reads, with the code beside it."""
    with pytest.raises(KubernetesError, match=r'^pods "x" not found$') as caught:
        await client.get("/api/v1/namespaces/default/pods/x", {}, timeout=5)
    assert caught.value.code == 404


async def test_a_refusal_without_a_status_names_the_server(tmp_path: Path) -> None:
    """A proxy's page of HTML is not repeated; who answered, and with what, is."""

    async def proxy_page(_: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>")

    async with (
        serving(proxy_page) as url,
        connected(write_kubeconfig(tmp_path / "k", url)) as client,
    ):
        with pytest.raises(KubernetesError, match=f"{url} answered 502 Bad Gateway") as caught:
            await client.get("/version", {}, timeout=5)
    assert caught.value.code == 502


async def test_no_answer_has_no_code(tmp_path: Path, unused_tcp_port: int) -> None:
    """The error of a refused connection has the server's address, and no status."""
    kubeconfig = write_kubeconfig(tmp_path / "k", f"http://127.0.0.1:{unused_tcp_port}")
    async with connected(kubeconfig) as client:
        with pytest.raises(KubernetesError, match=f"{unused_tcp_port} cannot be reached") as caught:
            await client.get("/version", {}, timeout=5)
    assert caught.value.code is None


async def test_an_answer_that_does_not_come_ends_in_time(tmp_path: Path) -> None:
    """The time-out bounds the whole answer."""

    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with serving(never) as url, connected(write_kubeconfig(tmp_path / "k", url)) as client:
        with pytest.raises(KubernetesError, match="cannot be reached") as caught:
            await client.get("/version", {}, timeout=0.05)
    assert caught.value.code is None


async def test_a_connection_closed_as_idle_is_replaced(tmp_path: Path) -> None:
    """A kept connection that the API closes instead of answering costs no request its answer."""
    connections = 0

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await reader.readuntil(b"\r\n\r\n{}")
        writer.close()
        await writer.wait_closed()

    api = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    host, port = api.sockets[0].getsockname()
    kubeconfig = write_kubeconfig(tmp_path / "k", f"http://{host}:{port}")
    async with api, connected(kubeconfig) as client:
        for expected in (1, 2, 3):
            assert await client.send("POST", "/apis", {}, timeout=5) == b"{}"
            assert connections == expected


@asynccontextmanager
async def streaming(tmp_path: Path, *chunks: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
    """The lines of a watch whose answer comes in these chunks."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        return response

    async with (
        serving(stream) as url,
        connected(write_kubeconfig(tmp_path / "k", url)) as client,
        client.watch("/api/v1/pods", {"watch": "true"}, silence=5) as lines,
    ):
        yield lines


async def test_lines_do_not_depend_on_chunks(tmp_path: Path) -> None:
    """An event may be cut anywhere, several may come at once, and the last may lack its end."""
    async with streaming(tmp_path, b'{"a"', b":1}\n{}\n\n[", b"]\n", b"tail") as lines:
        assert [line async for line in lines] == [b'{"a":1}', b"{}", b"[]", b"tail"]


async def test_a_large_event_is_one_line(tmp_path: Path) -> None:
    """An event of 8 MiB, far above any line buffer, comes whole."""
    large = b"x" * (8 * 1024 * 1024)
    async with streaming(tmp_path, large + b"\n") as lines:
        assert [len(line) async for line in lines] == [len(large)]


async def test_an_endless_line_is_refused(tmp_path: Path) -> None:
    """A line above the bound does not fill the memory."""
    chunk = b"x" * (MAX_EVENT_BYTES // 4)
    async with streaming(tmp_path, *[chunk] * 5) as lines:
        with pytest.raises(KubernetesError, match="watch event of more than"):
            async for _ in lines:
                pass


async def test_a_dropped_watch_is_reported(client: KubernetesClient, api: KubernetesAPI) -> None:
    """A connection that breaks in the middle of a stream does not end the stream cleanly."""
    async with client.watch("/api/v1/pods", {"watch": "true"}, silence=5) as lines:
        api.faults.drop_watches()
        with pytest.raises(
            KubernetesError,
            match=r"cannot be reached: the connection closed before the end of the answer$",
        ) as caught:
            await anext(lines)
    assert caught.value.code is None


async def test_a_silent_watch_is_reported(client: KubernetesClient) -> None:
    """A connection on which nothing comes for longer than agreed counts as lost."""
    async with client.watch("/api/v1/pods", {"watch": "true"}, silence=0.05) as lines:
        with pytest.raises(KubernetesError, match=r"cannot be reached: it did not answer in time$"):
            await anext(lines)


async def test_a_refused_watch_is_reported(client: KubernetesClient) -> None:
    """A watch that is answered by an error raises before there is a stream."""
    query = {"watch": "true", "labelSelector": "a ==="}
    with pytest.raises(KubernetesError, match="unable to parse requirement") as caught:
        async with client.watch("/api/v1/pods", query, silence=5):
            pass
    assert caught.value.code == 400


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
    """A token that is refused is read from its file again for the next call."""
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
    """A kubeconfig may name a program that prints the token, as the clouds' do."""
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
    """Without a file named, $KUBECONFIG is used, of which some files may be missing."""
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
    """Where there is no configuration, the error says what was tried and what to set."""
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
    with pytest.raises(ConfigurationError, match="Expected key user") as caught:
        await connect(kubeconfig)
    assert "s3cret" not in str(caught.value)


async def test_credentials_that_cannot_be_reloaded_are_kept(tmp_path: Path) -> None:
    """While its kubeconfig is being replaced the client keeps what it has, and says so once."""
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
    """A file that was named but is not there is not passed over for another."""
    with pytest.raises(ConfigurationError, match="missing does not exist"):
        await connect(tmp_path / "missing")


def test_sockets_notice_a_peer_that_is_gone() -> None:
    """A connection on which we only listen is probed by the kernel."""
    address = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 1))
    with keepalive_socket(address) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
