"""Queries to a real Prometheus."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from metrics_server.errors import QueryError
from metrics_server.sources.pages.access import AccessFiles
from metrics_server.sources.prometheus.client import PrometheusClient, PrometheusSettings
from metrics_server.tls.authority import Authority
from tests.support.peers import HOST, client_pair
from tests.support.prometheus import Prometheus, behind_tls, running_beside
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

# "scraper" with the password "s3cr3t-w0rd", hashed by bcrypt at the lowest cost.
USERS = {"scraper": "$2b$04$NbWyg4rcncysmq85XZ4mQeKYAdN.tuta0plQqDsLg7qdIFdOfafE."}
PASSWORD = "s3cr3t-w0rd"  # noqa: S105 - to look for where it must not be


@asynccontextmanager
async def client(url: str, access: AccessFiles | None = None) -> AsyncIterator[PrometheusClient]:
    """A client for as long as the context."""
    settings = PrometheusSettings(url, access=access or AccessFiles(setting="prometheus"))
    one = PrometheusClient(settings)
    try:
        yield one
    finally:
        await one.close()


async def failure(one: PrometheusClient, query: str = "vector(1)") -> QueryError:
    """The error of a failing query."""
    with pytest.raises(QueryError) as raised:
        await one.query(query)
    return raised.value


async def test_samples_at_their_times(tmp_path: Path) -> None:
    """A query is evaluated at the given time, or else now."""
    now = time.time()
    samples = "".join(
        f'load{{pod="{pod}"}} {value} {now - age:.3f}\n'
        for pod, value, age in (("a", 1, 60), ("a", 2, 30), ("b", 5, 30))
    )
    prometheus = Prometheus(tmp_path, samples=f"# TYPE load gauge\n{samples}")
    async with running_beside(prometheus), client(prometheus.url) as one:
        found = {one.labels["pod"]: one.value for one in (await one.query("load")).series}
        assert found == {"a": 2, "b": 5}
        (earlier,) = (await one.query("load", time=now - 45)).series
        assert earlier.labels == {"__name__": "load", "pod": "a"}
        assert earlier.value == 1
        assert earlier.timestamp == pytest.approx(now - 45, abs=0.001)
        (when,) = (await one.query('timestamp(load{pod="b"})')).series
        assert when.value == pytest.approx(now - 30, abs=0.001)
        assert when.labels == {"pod": "b"}


async def test_kinds_of_results(prometheus: Prometheus) -> None:
    """A scalar is a vector with one element; no result is empty; infinities are kept."""
    async with client(prometheus.url) as one:
        assert (await one.query("scalar(vector(2))")).series[0].value == 2
        assert (await one.query("nothing")).series == ()
        assert (await one.query("vector(1) / 0")).series[0].value == float("inf")
        assert (await failure(one, "nothing[5m]")).reason == "not-a-vector"
        assert (await failure(one, "'text'")).reason == "not-a-vector"


async def test_a_bad_query(prometheus: Prometheus) -> None:
    """Prometheus's own message says what is wrong, before and during evaluation."""
    async with client(prometheus.url) as one:
        error = await failure(one, "sum(")
        assert str(error) == (
            'Prometheus rejected the query (HTTP 400: bad_data: invalid parameter "query": 1:5: '
            "parse error: unclosed left parenthesis); run it in Prometheus itself to see why"
        )
        assert error.reason == "bad-query"
        error = await failure(one, 'label_replace(vector(1), "a", "", "", "(")')
        assert "(HTTP 422: execution: invalid regular expression in label_replace(): ()" in str(
            error
        )
        assert error.reason == "bad-query"


async def test_parameters_that_prometheus_does_not_know(prometheus: Prometheus) -> None:
    """Parameters for Thanos and VictoriaMetrics, and Mimir's headers, are ignored."""
    settings = PrometheusSettings(
        prometheus.url,
        parameters={"dedup": "true", "max_source_resolution": "0s"},
        headers={"X-Scope-OrgID": "team-a"},
    )
    one = PrometheusClient(settings)
    try:
        vector = await one.query("vector(1)")
    finally:
        await one.close()
    assert (len(vector.series), vector.warnings) == (1, ())


async def test_behind_a_prefix(tmp_path: Path) -> None:
    """The URL has the prefix, with or without a slash; without it, the error names what to add."""
    prometheus = Prometheus(tmp_path, prefix="/monitoring/prometheus")
    async with running_beside(prometheus):
        for url in (prometheus.url, f"{prometheus.url}/"):
            async with client(url) as one:
                assert len((await one.query("vector(1)")).series) == 1
        async with client(prometheus.url.removesuffix("/prometheus")) as one:
            error = await failure(one)
    assert error.reason == "not-found"
    assert str(error) == (
        "Prometheus has no query API at prometheus.url (HTTP 404: 404 page not found); the URL "
        "must include the path before /api/v1, such as /prometheus"
    )


async def test_over_tls(tmp_path: Path) -> None:
    """Prometheus's certificate is verified; an untrusted server is not queried."""
    authority = Authority("ours")
    ca_file = tmp_path / "ca.crt"
    ca_file.write_bytes(authority.bundle)
    web = behind_tls(tmp_path, authority.issue([HOST]))
    prometheus = Prometheus(tmp_path, web=web)
    async with running_beside(prometheus):
        async with client(prometheus.url, AccessFiles(ca_file=ca_file)) as one:
            assert len((await one.query("vector(1)")).series) == 1
        async with client(prometheus.url, AccessFiles()) as one:
            error = await failure(one)
            assert error.reason == "tls"
            assert str(error).startswith("no TLS connection to Prometheus: ")
            assert "unable to get local issuer certificate" in str(error)
        named = AccessFiles(ca_file=ca_file, server_name="prometheus.example")
        async with client(prometheus.url, named) as one:
            assert "'prometheus.example'" in str(await failure(one))
        async with client(prometheus.url.replace("https", "http")) as one:
            error = await failure(one)
            assert "(HTTP 400: Client sent an HTTP request to an HTTPS server.)" in str(error)
            assert error.reason == "http-status"


async def test_https_where_there_is_none(prometheus: Prometheus) -> None:
    """The error says that the scheme may be wrong."""
    async with client(prometheus.url.replace("http", "https")) as one:
        error = await failure(one)
    assert error.reason == "tls"
    assert "whether prometheus.url must be http or https" in str(error)


async def test_a_client_certificate(tmp_path: Path) -> None:
    """The certificate is sent to a Prometheus that requires one, from files that may be rotated."""
    authority, clients = Authority("ours"), Authority("clients")
    pair = client_pair(clients, "gpu-metrics-server")
    files = {"ca.crt": authority.bundle, "client.crt": pair.certificate, "client.key": pair.key}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    access = AccessFiles(
        ca_file=tmp_path / "ca.crt",
        cert_file=tmp_path / "client.crt",
        key_file=tmp_path / "client.key",
    )
    web = behind_tls(tmp_path, authority.issue([HOST]), client_ca=clients.bundle)
    prometheus = Prometheus(tmp_path, web=web)
    async with running_beside(prometheus):
        async with client(prometheus.url, access) as one:
            assert len((await one.query("vector(1)")).series) == 1
        async with client(prometheus.url, AccessFiles(ca_file=access.ca_file)) as one:
            error = await failure(one)
    assert error.reason == "tls"
    # The alert depends on the version of Go.
    assert re.search("alert (bad certificate|certificate required)", str(error)), error


async def test_basic_authentication(tmp_path: Path) -> None:
    """A user name, and a password from a file, which is read again after it was rejected."""
    authority = Authority("ours")
    ca_file, password = tmp_path / "ca.crt", tmp_path / "password"
    ca_file.write_bytes(authority.bundle)
    password.write_text("wrong")
    web = {**behind_tls(tmp_path, authority.issue([HOST])), "basic_auth_users": USERS}
    prometheus = Prometheus(tmp_path, web=web)
    access = AccessFiles(ca_file=ca_file, username="scraper", password_file=password)
    async with running_beside(prometheus), client(prometheus.url, access) as one:
        error = await failure(one)
        assert str(error) == (
            "Prometheus did not accept the credentials (HTTP 401: Unauthorized); check "
            "prometheus.auth, prometheus.tls and prometheus.headers"
        )
        assert error.reason == "credentials"
        password.write_text(f"{PASSWORD}\n")
        assert len((await one.query("vector(1)")).series) == 1


async def test_down_and_up_again(tmp_path: Path) -> None:
    """While it is down, each query fails at once; when it is back, the next one has a result."""
    prometheus = Prometheus(tmp_path)
    async with running_beside(prometheus), client(prometheus.url) as one:
        for end in (prometheus.stop, prometheus.kill):
            assert len((await one.query("vector(1)")).series) == 1
            await asyncio.to_thread(end)
            error = await failure(one)
            assert error.reason == "unreachable"
            assert str(error) == (
                "Prometheus could not be reached: Connection refused; check prometheus.url, and "
                "that it runs"
            )
            await asyncio.to_thread(prometheus.start)


async def test_hanging(tmp_path: Path) -> None:
    """A query fails after its timeout, and the next one after the pause has a result."""
    prometheus = Prometheus(tmp_path)
    async with running_beside(prometheus):
        one = PrometheusClient(PrometheusSettings(prometheus.url, timeout=0.5))
        try:
            assert len((await one.query("vector(1)")).series) == 1
            prometheus.pause()
            error = await failure(one)
            prometheus.resume()
            assert error.reason == "timeout"
            assert str(error).startswith("Prometheus did not answer within 0.5 s")
            assert await eventually(lambda: outcome(one), lambda found: found == "ok")
        finally:
            await one.close()


async def outcome(one: PrometheusClient) -> str:
    """The outcome of a query."""
    try:
        await one.query("vector(1)")
    except QueryError as error:
        return error.reason
    return "ok"


async def test_restarting_while_it_is_queried(tmp_path: Path) -> None:
    """Each query has a result, or an error that Prometheus is down or starting."""
    prometheus = Prometheus(tmp_path)
    outcomes: list[str] = []

    async def ask(one: PrometheusClient) -> None:
        while True:
            outcomes.append(await outcome(one))

    async def count() -> int:
        return len(outcomes)

    async with running_beside(prometheus), client(prometheus.url) as one:
        asking = asyncio.create_task(ask(one))
        await eventually(count, lambda many: many > 10)
        await asyncio.to_thread(prometheus.kill)
        await asyncio.to_thread(prometheus.start)
        before = len(outcomes)
        await eventually(count, lambda many: many > before + 10)
        asking.cancel()
    assert outcomes[0] == outcomes[-1] == "ok"
    assert set(outcomes) <= {"ok", "unreachable", "cut-short", "unavailable"}
    assert set(outcomes) != {"ok"}
