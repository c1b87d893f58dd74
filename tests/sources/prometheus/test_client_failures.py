"""Anything may answer at Prometheus's address: bytes on real sockets."""

import gzip

import pytest

from metrics_server.errors import MAX_QUERY_MESSAGE
from metrics_server.sources.prometheus.client import PrometheusSettings
from tests.support.peers import HOST
from tests.support.query_api import JSON, VECTOR, error_of, failure, raw, response

HTML = "Content-Type: text/html; charset=utf-8\r\n"
TEXT = "Content-Type: text/plain; charset=utf-8\r\n"


@pytest.mark.parametrize(
    ("answer", "reason", "message"),
    [
        (
            response(error_of("bad_data", "parse error"), status="400 Bad Request"),
            "bad-query",
            "Prometheus rejected the query (HTTP 400: bad_data: parse error); run it in",
        ),
        (
            response("<h1>Bad</h1>", HTML, "400 Bad Request"),
            "http-status",
            "Prometheus did not answer the query (HTTP 400); check prometheus.url",
        ),
        (
            response(error_of("execution", "too many samples"), status="422 Unprocessable"),
            "bad-query",
            "Prometheus rejected the query (HTTP 422: execution: too many samples); run it in",
        ),
        (
            response("no org id\n", TEXT, "401 Unauthorized"),
            "credentials",
            "Prometheus did not accept the credentials (HTTP 401: no org id); check",
        ),
        (
            response("<h1>No</h1>", HTML, "403 Forbidden"),
            "credentials",
            "Prometheus does not allow the query (HTTP 403); check the rights of the user in",
        ),
        (
            response("404 page not found\n", TEXT, "404 Not Found"),
            "not-found",
            "Prometheus has no query API at prometheus.url (HTTP 404: 404 page not found); the",
        ),
        (
            response("slow down", TEXT, "429 Too Many Requests"),
            "limited",
            "Prometheus rejects queries because there are too many (HTTP 429: slow down); raise",
        ),
        (
            response(error_of("timeout", "query timed out"), status="503 Service Unavailable"),
            "timeout",
            "Prometheus gave up on the query (HTTP 503: timeout: query timed out); raise",
        ),
        (
            response("Service Unavailable", TEXT, "503 Service Unavailable"),
            "unavailable",
            "Prometheus is not available (HTTP 503: Service Unavailable); it is starting or over",
        ),
        (
            response(error_of("internal", "broken"), status="500 Internal Server Error"),
            "http-status",
            "Prometheus failed, or a proxy in front of it (HTTP 500: internal: broken); see its",
        ),
        (
            response(b"<html>502", HTML, "502 Bad Gateway"),
            "http-status",
            "Prometheus failed, or a proxy in front of it (HTTP 502); see its log",
        ),
        (
            response(b'{"a":' + b"[" * 10_000, status="500 Internal Server Error"),
            "http-status",
            "Prometheus failed, or a proxy in front of it (HTTP 500); see its log",
        ),
        (
            response(gzip.compress(b"no"), TEXT + "Content-Encoding: gzip\r\n", "500 No"),
            "http-status",
            "Prometheus failed, or a proxy in front of it (HTTP 500); see its log",
        ),
        (
            response("", "Location: /login\r\n", "302 Found"),
            "redirect",
            "Prometheus answered with a redirect, which is not followed (HTTP 302); set",
        ),
        (
            response("", "", "204 No Content"),
            "http-status",
            "Prometheus did not answer the query (HTTP 204); check prometheus.url",
        ),
        (
            response("<form>Log in</form>", HTML),
            "not-json",
            "the server at prometheus.url sent text/html, not JSON: is it Prometheus, or a login",
        ),
        (
            response(gzip.compress(VECTOR.encode()), JSON + "Content-Encoding: gzip\r\n"),
            "not-json",
            "Prometheus sent a compressed answer (gzip), which was not asked for; a proxy in",
        ),
        (
            response(VECTOR[:-10]),
            "cut-short",
            "Prometheus's answer was cut short; see its log, and that of a proxy in front of it",
        ),
        (
            response(VECTOR)[:-10],
            "cut-short",
            "Prometheus closed the connection before its answer was complete; see its log",
        ),
        (b"", "cut-short", "Prometheus closed the connection before its answer was complete; see"),
        (
            response(error_of("internal", "no")),
            "bad-query",
            "Prometheus reported an error: internal: no",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            "not-http",
            "the server at prometheus.url did not send valid HTTP: it does not begin",
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\n" * 2000,
            "not-http",
            "the server at prometheus.url did not send valid HTTP: its head has more than",
        ),
        (
            response("\x1b[31m" + "x" * 20_000, TEXT, "500 No"),
            "http-status",
            "Prometheus failed, or a proxy in front of it (HTTP 500: \\x1b[31m"
            + "x" * 191
            + "…); see its log",
        ),
        (
            response(" " * 2_000_000 + VECTOR),
            "too-large",
            "Prometheus sent more than the 1112576 bytes that prometheus.maxSeries allows",
        ),
        (
            response(VECTOR.replace("[{", "[" + '{"metric":{},"value":[1,"2"]},' * 40 + "{")),
            "too-large",
            "Prometheus returned more than 40 series (prometheus.maxSeries); select less, or",
        ),
    ],
)
async def test_each_failure_has_its_words(answer: bytes, reason: str, message: str) -> None:
    """One printable line says what happened, and what to do."""
    async with raw(answer) as url:
        error = await failure(PrometheusSettings(url, timeout=10, max_series=40))
    assert (error.reason, str(error)[: len(message)]) == (reason, message)
    assert str(error).isprintable()
    assert len(str(error)) <= MAX_QUERY_MESSAGE


async def test_nobody_listens() -> None:
    """The message is the system's."""
    error = await failure(PrometheusSettings(f"http://{HOST}:1"))
    assert error.reason == "unreachable"
    assert str(error).startswith("Prometheus could not be reached: Connection refused; check")
