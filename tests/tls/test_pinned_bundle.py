"""A writer that pins a CA bundle of the server's, which the next rotation makes obsolete."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.events import Events
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.tls.authority import Authority
from tests.support.certificates import Replica, data, published
from tests.support.clock import WallClock
from tests.tls.test_contest import POLL, event_api, events, overwrite

__all__ = ("event_api", "events")

HOUR = 120


def overwritten(logs: Sequence[object]) -> bool:
    """Whether the log reports an overwritten bundle."""
    return any("CA bundle overwritten" in str(line) for line in logs)


@pytest.mark.slow
async def test_an_outdated_bundle_of_ours_is_another_writers(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock, events: Events
) -> None:
    """The writer is reported, and not overwritten endlessly."""
    old = Authority("gpu-metrics-server-ca-20250101000000").bundle
    overwrite(api, old, "argocd-controller")
    replica = Replica(client, wall, events=events)
    await replica.settle()
    writes = 0
    with capture_logs() as logs:
        for _ in range(HOUR):
            overwrite(api, old, "argocd-controller")
            await replica.settle()
            writes += published(api) != old
            wall.advance(POLL)
    assert overwritten(logs)
    assert "argocd-controller" in (replica.error or "")
    assert writes < HOUR / 4


@pytest.mark.slow
async def test_a_pinned_bundle_does_not_stop_the_rotation(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock, events: Events
) -> None:
    """The next authority still takes over, and the other writer is named."""
    overwrite(api, b"", "kubectl")
    replica = Replica(client, wall, events=events)
    await replica.settle()
    pinned = published(api)
    with capture_logs() as logs:
        for _ in range(90):
            wall.advance(timedelta(days=4))
            for _ in range(2):
                overwrite(api, pinned, "argocd-controller")
                await replica.settle()
                wall.advance(POLL)
    assert overwritten(logs)
    assert "argocd-controller" in (replica.error or "")
    # Near its end, though clients of that place may not know the next one.
    assert data(api)["ca.crt"] != pinned
    assert replica.managed.check() is None
