"""Reasons why a cluster or pod cannot be reached, in this product's words."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from metrics_server.doctor.pages import not_reached
from metrics_server.simulator.faults import Fault
from tests.doctor.running import Run, status_of
from tests.doctor.scene import Scene
from tests.support.commands import kubeconfig

_HTTP = b"HTTP/1.1 %d Said\r\nConnection: close\r\nContent-Length: 6\r\n%s\r\n<html>"
COMMANDS = (["doctor"], ["ask", "gpu_utilization", "--selector", "app=a"], ["top"])


@asynccontextmanager
async def peer(answer: bytes) -> AsyncIterator[str]:
    """Something other than a Kubernetes API, which answers everything like this."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def error(tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str, *line: str) -> str:
    """What a command prints on stderr."""
    config = kubeconfig(tmp_path, url)
    await asyncio.to_thread(status_of, [*line, "--kubeconfig", str(config)])
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.0\r\n", "cannot be reached: it does not send valid HTTP\n"),
        (b"", "cannot be reached: the connection was closed without an answer\n"),
        (_HTTP % (200, b""), "answers HTTP 200, but not as a Kubernetes API does: "),
        (_HTTP % (403, b""), "answers HTTP 403, but not as a Kubernetes API does: "),
        (_HTTP % (401, b""), "rejects your credentials (HTTP 401): log in again"),
        (
            _HTTP % (302, b"Location: /version\r\n"),
            "cannot be reached: it keeps redirecting\n",
        ),
    ],
    ids=["garbage", "closed", "page", "forbidden", "unauthorized", "redirects"],
)
async def test_another_server(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    answer: bytes,
    message: str,
) -> None:
    """One line says what is there instead."""
    async with peer(answer) as url:
        text = await error(tmp_path, capsys, url, *command)
    assert message in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://no-such-host.invalid", "the host name cannot be resolved: "),
        ("127.0.0.1:99999", "this is not a valid URL"),
    ],
)
async def test_an_address_that_leads_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str, message: str
) -> None:
    """The message has the address and the problem."""
    text = await error(tmp_path, capsys, url, "doctor")
    assert f"the Kubernetes API at {url} cannot be reached: {message}" in text


_KUBECONFIG = (
    "{current-context: a, contexts: [{name: a, context: {cluster: a}}], "
    "clusters: [{name: a, cluster: %s}]}"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is not a kubeconfig"),
        ("a: [\n", "it is not valid YAML (line 2, column 1)"),
        ("{current-context: none, contexts: []}", "it has no context with the name none"),
        ("clusters: 3\n", "it is not a kubeconfig"),
        ("{}", "it has no current-context"),
        ("{current-context: a, contexts: [b]}", "an entry under contexts has no name"),
        (_KUBECONFIG % "text", "its cluster has no server"),
        (_KUBECONFIG % "[1]", "its cluster has no server"),
        (_KUBECONFIG % "{server: [1]}", "it is not a kubeconfig"),
    ],
)
async def test_a_file_that_is_no_kubeconfig(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    """One line says what is wrong with it, without a library's own wording."""
    config = tmp_path / "k"
    config.write_text(content)
    status = await asyncio.to_thread(status_of, ["doctor", "--kubeconfig", str(config)])
    text = capsys.readouterr().err
    assert status == 2
    assert f"the kubeconfig {config} cannot be used: {message}" in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            "error trying to reach service: dial tcp 10.0.0.9:9400: connect: connection refused",
            "Connection refused",
        ),
        (
            "error trying to reach service: dial tcp 10.0.0.9:9400: i/o timeout",
            "it did not answer in time",
        ),
        ("error trying to reach service: EOF", "the connection was closed without an answer"),
        ("error trying to reach service: something new", "something new"),
        ('pods "a" not found', 'pods "a" not found'),
    ],
)
def test_what_kube_apiserver_says_of_a_pod(message: str, words: str) -> None:
    """In the same words as the server's."""
    assert not_reached(message) == words


async def test_an_exporter_that_is_down(scene: Scene, run: Run) -> None:
    """Exporters that fail alike share a message, without library objects' addresses."""
    await scene.cluster.set_fault(Fault("down"))
    text = (await run("doctor")).out
    assert (
        "pod gpu-monitoring/dcgm-exporter-gpu-node-0 on node gpu-node-0, "
        "pod gpu-monitoring/dcgm-exporter-gpu-node-1 on node gpu-node-1: "
        "could not be reached: Connection refused\n"
    ) in text
    for word in ("ssl:", "Cannot connect", "error trying"):
        assert word not in text
