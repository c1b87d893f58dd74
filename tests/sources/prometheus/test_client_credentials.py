"""Credentials go to Prometheus, and nowhere else."""

from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization

from metrics_server.errors import QueryError
from metrics_server.sources.pages.access import AccessFiles
from metrics_server.sources.prometheus.client import PrometheusSettings
from metrics_server.tls.authority import Authority
from tests.support.peers import client_pair
from tests.support.query_api import VECTOR, client, failure, serving

SECRET = "s3cr3t-t0k3n"  # noqa: S105 - a secret to look for where it must not be


async def test_a_credential_goes_nowhere_else(tmp_path: Path) -> None:
    """Credentials are not sent over plain HTTP, to redirects or unknown servers, or in messages."""
    authority = Authority("ours")
    (tmp_path / "token").write_text(f"{SECRET}\n")
    (tmp_path / "ca.crt").write_bytes(authority.bundle)
    access = AccessFiles(
        ca_file=tmp_path / "ca.crt", bearer_token_file=tmp_path / "token", setting="prometheus"
    )
    shown: list[tuple[str, str | None]] = []
    location = ""

    async def answer(request: web.BaseRequest) -> web.Response:
        authorization = request.headers.get("Authorization")
        shown.append((request.path, authorization))
        if location:
            return web.Response(status=307, headers={"Location": location})
        return web.Response(status=401, text=f"{authorization} is unknown")

    async with serving(answer) as url:
        error = await failure(PrometheusSettings(url, access=access))
        assert str(error) == (
            "Prometheus was not queried: prometheus.auth would be sent in the clear; use https in "
            "prometheus.url"
        )
    assert shown == []
    async with serving(answer, Authority("other")) as url:
        assert (await failure(PrometheusSettings(url, access=access))).reason == "tls"
    assert shown == []
    async with serving(answer, authority) as url:
        location = f"{url}/elsewhere"
        assert (await failure(PrometheusSettings(url, access=access))).reason == "redirect"
        location = ""
        error = await failure(PrometheusSettings(url, access=access))
    assert shown == [("/api/v1/query", f"Bearer {SECRET}")] * 2
    assert "(HTTP 401: Bearer (credentials) is unknown)" in str(error)


async def test_a_token_that_rotates(tmp_path: Path) -> None:
    """After a 401, the file is read again for the next query; no query is sent twice."""
    authority = Authority("ours")
    token = tmp_path / "token"
    token.write_text("old")
    (tmp_path / "ca.crt").write_bytes(authority.bundle)
    access = AccessFiles(ca_file=tmp_path / "ca.crt", bearer_token_file=token)
    wanted = "Bearer old"
    shown: list[str | None] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        shown.append(request.headers.get("Authorization"))
        if shown[-1] != wanted:
            return web.Response(status=401)
        return web.Response(text=VECTOR, content_type="application/json")

    async with (
        serving(answer, authority) as url,
        client(PrometheusSettings(url, access=access)) as one,
    ):
        await one.query("up")
        wanted = "Bearer new"
        token.write_text("new")
        with pytest.raises(QueryError):
            await one.query("up")
        await one.query("up")
    assert shown == ["Bearer old", "Bearer old", "Bearer new"]


async def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    """The message names the settings, and nothing from a file."""
    (tmp_path / "broken").write_text(SECRET)
    pair = client_pair(None, "gpu-metrics-server")
    (tmp_path / "client.crt").write_bytes(pair.certificate)
    gone, broken = tmp_path / "gone", tmp_path / "broken"
    for access, why in (
        (AccessFiles(bearer_token_file=gone, setting="prometheus"), "No such file or directory"),
        (AccessFiles(ca_file=broken, setting="prometheus"), "NO_CERTIFICATE_OR_CRL_FOUND"),
        (
            AccessFiles(cert_file=tmp_path / "client.crt", key_file=broken, setting="prometheus"),
            "PEM lib",
        ),
    ):
        error = await failure(PrometheusSettings("https://127.0.0.1:1", access=access))
        assert error.reason == "credentials"
        assert str(error).startswith(
            "Prometheus was not queried: a file under prometheus.tls or prometheus.auth cannot be "
            "used ("
        )
        assert why in str(error)
        assert SECRET not in f"{error} {error!r}"


async def test_a_key_with_a_passphrase_does_not_ask_for_it(tmp_path: Path) -> None:
    """OpenSSL would prompt on the terminal, and wait."""
    pair = client_pair(None, "gpu-metrics-server")
    key = serialization.load_pem_private_key(pair.key, None)
    (tmp_path / "client.crt").write_bytes(pair.certificate)
    (tmp_path / "client.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    access = AccessFiles(cert_file=tmp_path / "client.crt", key_file=tmp_path / "client.key")
    error = await failure(PrometheusSettings("https://127.0.0.1:1", access=access))
    assert error.reason == "credentials"
