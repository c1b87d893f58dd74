"""The script of `helm test`, which asks kube-apiserver for the list of metrics."""

import asyncio
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from metrics_server.simulator.kube.objects import Object
from tests.deployments.chart import CHART, render, values
from tests.deployments.manifests import SERVER, find, mapping, pod_spec, texts
from tests.support.pairs import self_signed, write_pair

pytestmark = pytest.mark.slow

PATHS = ["/apis/external.metrics.k8s.io/v1beta1", "/apis/custom.metrics.k8s.io/v1beta2"]


async def ask(folder: Path, answers: Iterator[tuple[int, Object]]) -> tuple[int | None, str, str]:
    """The script's result, with an API server that answers the first path like this."""
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.path, request.headers["Authorization"]))
        status, body = next(answers)
        return web.json_response(body, status=status)

    pair = self_signed()
    (folder / "token").write_text("secret")
    (folder / "ca.crt").write_bytes(pair.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write_pair(folder / "pair.pem", pair))
    app = web.Application()
    app.router.add_get(PATHS[0], answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        host, port = runner.addresses[0]
        script = (CHART / "files" / "ask.py").read_text(encoding="utf-8")
        script = script.replace("/var/run/secrets/kubernetes.io/serviceaccount", str(folder))
        script = script.replace("PATIENCE_SECONDS = 60", "PATIENCE_SECONDS = 0.3")
        script = script.replace("time.sleep(1)", "time.sleep(0.2)")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script, PATHS[0]),
            env={"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    finally:
        await runner.cleanup()
    assert set(asked) == {(PATHS[0], "Bearer secret")}
    return process.returncode, out.decode(), err.decode()


async def test_metrics_pass(tmp_path: Path) -> None:
    """It waits until the API is there, and passes once a metric is listed."""
    answers: list[tuple[int, Object]] = [
        (503, {}),
        (200, {"resources": []}),
        (200, {"resources": [{}, {}]}),
    ]
    status, out, err = await ask(tmp_path, iter(answers))
    assert (status, out, err) == (0, f"{PATHS[0]}: 2 metrics\n", "")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((403, {"message": "not you"}), "not you"),
        ((503, {"message": "no endpoints"}), "no endpoints"),
        ((200, {"resources": []}), "it has no metrics"),
    ],
)
async def test_anything_else_fails(
    answer: tuple[int, Object], expected: str, tmp_path: Path
) -> None:
    """An error, or no metric within a minute, fails the test, and the log says why."""
    status, out, err = await ask(tmp_path, iter([answer] * 9))
    assert (status, out) == (1, "")
    assert err.startswith(f"{PATHS[0]}: ")
    assert expected in err


@pytest.mark.parametrize(
    ("example", "paths"),
    [("production", PATHS), ("beside-keda", PATHS[1:]), ("without-custom-metrics", PATHS[:1])],
)
def test_each_api_that_is_served_is_asked(example: str, paths: list[str]) -> None:
    """The pod runs the script unchanged, for the APIs that the chart registers."""
    pod = find(render(*values(example)), "Pod", f"{SERVER}-test")
    container = mapping(pod_spec(pod), "containers", 0)
    command = texts(container, "command")
    assert command[:2] == ["python", "-c"]
    assert command[2] == (CHART / "files" / "ask.py").read_text(encoding="utf-8")
    assert texts(container, "args") == paths
