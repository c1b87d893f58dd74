"""Bytes that are barely HTTP."""

import msgspec
import pytest
from aiohttp import hdrs

from metrics_server.api.status import Status
from tests.support.clients import Client
from tests.support.external_metrics import METRIC, PATH, nothing_bad_in_the_log
from tests.support.harness import Cluster

HTTP = b"HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"FROBNICATE /apis " + HTTP + b"\r\n", 400),
        (b"GET /apis HTTP/1.1\r\n\r\n", 400),
        (b"GET /apis\0 " + HTTP + b"\r\n", 400),
        (b"GET /apis\xff " + HTTP + b"\r\n", 400),
        (b"GET %s\xff " % METRIC.encode() + HTTP + b"\r\n", 400),
        (b"GET %s?limit=\xff " % METRIC.encode() + HTTP + b"\r\n", 400),
        (b"GET %s?labelSelector=\0 " % METRIC.encode() + HTTP + b"\r\n", 400),
        (b"GET %s " % METRIC.encode() + HTTP + b"Accept: \xff/x\r\n\r\n", 406),
        (b"GET /apis " + HTTP + b"Accept: \xff/x\r\n\r\n", 406),
        (b"GET /apis " + HTTP + b"X: \0\r\n\r\n", 400),
        (b"GET http://[::1/apis " + HTTP + b"\r\n", 400),
        (b"GET %s?labelSelector=%s " % (METRIC.encode(), b"x" * 64_000) + HTTP + b"\r\n", 400),
        (b"GET /apis " + HTTP + b"X: %s\r\n\r\n" % (b"x" * 64_000), 400),
        (b"GET /apis " + HTTP + b"".join(b"X-%d: x\r\n" % n for n in range(9000)) + b"\r\n", 400),
        (b"POST /apis HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 405),
        (b"OPTIONS * " + HTTP + b"\r\n", 404),
        (b"CONNECT x:443 " + HTTP + b"\r\n", 404),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else str(value),
)
async def test_what_is_hardly_http(
    client: Client, caplog: pytest.LogCaptureFixture, data: bytes, code: int
) -> None:
    """Whatever bytes come in, one short Status goes out, and no error is logged."""
    with nothing_bad_in_the_log(caplog):
        answer = await client.send(data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == str(code).encode()
    assert b"content-type: application/json" in head.lower()
    assert b"retry-after" not in head.lower()
    status = msgspec.json.decode(body, type=Status)
    assert (status.code, status.status) == (code, "Failure")
    assert status.message
    assert "\n" not in status.message
    assert len(status.message) < 1000
    assert b"Traceback" not in body


async def test_the_server_goes_on_after_what_is_hardly_http(client: Client) -> None:
    """One client's garbage costs no other client an answer."""
    await client.send(b"hello\r\n\r\n")
    assert (await client.metric("default", "gpu_utilization")).item().value == "7"


async def test_a_metric_can_only_be_read(simulated: Cluster) -> None:
    """Any other method is 405, and triggers no measurement."""
    for method in ("POST", "PUT", "PATCH", "DELETE", "HEAD"):
        for name in ("gpu_utilization", "cpu"):
            answer = await simulated.client.ask(f"{PATH}/{name}", method=method)
            assert answer.status == 405, (method, name)
            assert answer.headers[hdrs.ALLOW] == "GET", (method, name)
    assert simulated.exporters["gpu-0"].scrapes == 0
