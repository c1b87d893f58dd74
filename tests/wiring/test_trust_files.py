"""Trust from flags and files."""

import json
from functools import partial
from pathlib import Path

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from metrics_server.auth.trust_files import TrustFiles
from metrics_server.simulator.kube.trust import SimulatedTrust
from metrics_server.tls.authority import Authority
from metrics_server.wiring.options import ServeOptions
from metrics_server.wiring.server import running
from tests.support.clients import Client
from tests.support.harness import Cluster, configuration, kubernetes_api, serve_options
from tests.support.trust import METRIC, publish, status
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow


async def test_a_uid_is_believed_only_where_the_cluster_says_so(simulated: Cluster) -> None:
    """Without requestheader-uid-headers, any client can set the header, so it is ignored."""
    proxy = simulated.trust.front_proxy()
    publish(simulated, requestheader_uid_headers=None)

    async def told() -> object:
        headers = {"X-Remote-User": "alice", "X-Remote-Uid": "0"}
        assert await status(simulated, proxy, headers) == 200
        spec = simulated.trust.reviews.access_reviews[-1]["spec"]
        assert isinstance(spec, dict)
        return spec.get("uid")

    assert await eventually(told, lambda uid: uid is None) is None
    publish(simulated, requestheader_uid_headers=json.dumps(["X-Remote-Uid"]))
    assert await eventually(told, lambda uid: uid is not None) == "0"


async def test_flags_are_believed_for_what_they_say(tmp_path: Path) -> None:
    """With authorities from flags, a UID counts only if a flag names its header."""
    uids = []
    async with kubernetes_api() as (api, authority), serve_options(api, authority) as options:
        trust = SimulatedTrust(api)
        for uid_headers in ((), ("X-Remote-Uid",)):
            flags = by_files(options, trust, tmp_path, uid_headers)
            async with running(flags, configuration()) as server:
                assert server.bundle is not None
                async with Client(server.url, server.bundle, trust.front_proxy()) as client:
                    headers = {"X-Remote-User": "alice", "X-Remote-Uid": "0"}
                    await client.ask(METRIC, headers)
            spec = trust.reviews.access_reviews[-1]["spec"]
            assert isinstance(spec, dict)
            uids.append(spec.get("uid"))
    assert uids == [None, "0"]


async def test_files_of_authorities_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authority removed from its file is no longer trusted, and an added one is."""
    monkeypatch.setattr(
        "metrics_server.wiring.security.TrustFiles", partial(TrustFiles, interval=0.5)
    )
    async with kubernetes_api() as (api, authority), serve_options(api, authority) as options:
        trust = SimulatedTrust(api)
        flags = by_files(options, trust, tmp_path)
        proxies, users = (tmp_path / "proxies.crt", tmp_path / "clients.crt")
        old = trust.front_proxy(), trust.clients.issue_client("jane", ["system:masters"])
        trust.front_proxies, trust.clients = Authority("front-proxy-ca"), Authority("kubernetes-ca")
        new = trust.front_proxy(), trust.clients.issue_client("jane", ["system:masters"])

        async with running(flags, configuration()) as server:

            async def reloads() -> int:
                return sum(one["event"] == "CA file reloaded" for one in logs)

            async def codes() -> list[int]:
                assert server.bundle is not None
                found = []
                for shown in (*old, *new):
                    async with Client(server.url, server.bundle, shown) as client:
                        answer = await client.ask("/metrics", {"X-Remote-User": "alice"})
                        found.append(answer.status)
                return found

            assert await codes() == [200, 200, 401, 401]
            with capture_logs() as logs:
                for path, issuer in ((proxies, trust.front_proxies), (users, trust.clients)):
                    path.write_bytes(path.read_bytes() + issuer.bundle)
                await eventually(reloads, lambda count: count == 2)
            assert await eventually(codes, lambda now: now == [200] * 4)
            with capture_logs() as logs:
                proxies.write_bytes(trust.front_proxies.bundle)
                users.write_bytes(trust.clients.bundle)
                await eventually(reloads, lambda count: count == 2)
            assert await eventually(codes, lambda now: now == [401, 401, 200, 200])


def by_files(
    options: ServeOptions, trust: SimulatedTrust, folder: Path, uid_headers: tuple[str, ...] = ()
) -> ServeOptions:
    """Flags with files of the cluster's authorities."""
    proxies, clients = folder / "proxies.crt", folder / "clients.crt"
    proxies.write_bytes(trust.front_proxies.bundle)
    clients.write_bytes(trust.clients.bundle)
    return structs.replace(
        options,
        client_ca_file=clients,
        requestheader_client_ca_file=proxies,
        requestheader_uid_headers=uid_headers,
    )
