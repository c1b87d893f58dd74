"""Years of certificates, on a test's clock: no client that reads the bundle fails."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import pairwise

import msgspec
import pytest
from msgspec import Struct

from metrics_server.errors import KubernetesError
from metrics_server.kube.client import KubernetesClient
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import API_SERVICES, CONFIG_MAPS, SECRETS, metadata
from metrics_server.tls.api_service import CUSTOM_METRICS, EXTERNAL_METRICS
from tests.support.bundles import verifies
from tests.support.certificates import (
    CONFIG_MAP,
    NAMESPACE,
    Refusing,
    Replica,
    api_service,
    data,
    in_config_map,
    published,
)
from tests.support.clock import WallClock

pytestmark = pytest.mark.slow

# The first authority is replaced in the first year, its successor in the second.
YEARS = 2
# Less than the grace period; the kubelet takes a minute or two.
RELOAD = timedelta(minutes=45)
RESOURCES = {one.name: one for one in (API_SERVICES, CONFIG_MAPS, SECRETS)}
THEIRS = "dGhlaXJz"
# How long a replica rests with nothing due, and after a failure.
REST, RETRY = timedelta(days=15), timedelta(days=3)


class Case(Struct, frozen=True):
    """The objects in a cluster, and what goes wrong.

    Attributes:
        exist: the APIServices that are installed.
        kept: the places where the bundle must always be right.
        refused: parts of paths that may not be written.
        code: the status of the refusals.
        has_config_map: whether the ConfigMap exists.
        overwritten: whether another writer replaces the caBundle of external metrics each time.
        days: how long the first authority signs, and the longest that any other does.
    """

    exist: Sequence[str] = ()
    kept: Sequence[str] = (CONFIG_MAP,)
    refused: tuple[str, ...] = ()
    code: int = 403
    has_config_map: bool = True
    overwritten: bool = False
    days: int = 245


BOTH = (EXTERNAL_METRICS, CUSTOM_METRICS)
LATE = 336
CASES = {
    "none": Case(),
    "one": Case([EXTERNAL_METRICS], (EXTERNAL_METRICS, CONFIG_MAP)),
    "both": Case(BOTH, (*BOTH, CONFIG_MAP)),
    "one-refused": Case(BOTH, (CUSTOM_METRICS, CONFIG_MAP), (EXTERNAL_METRICS,), days=LATE),
    "both-refused": Case(BOTH, (CONFIG_MAP,), ("/apiservices",), days=LATE),
    "one-fails": Case(BOTH, (CUSTOM_METRICS, CONFIG_MAP), (EXTERNAL_METRICS,), 500, days=LATE),
    "no-config-map": Case(BOTH, BOTH, ("/configmaps",), days=LATE),
    "only-the-secret": Case((), (), ("/configmaps",), days=LATE),
    "nothing": Case((), (), ("/configmaps",), has_config_map=False),
    "overwritten": Case(BOTH, (CUSTOM_METRICS, CONFIG_MAP), overwritten=True, days=LATE),
}


class Near(Refusing):
    """A client that writes by HTTP but reads the store, as reading years by HTTP takes long.

    Args:
        api: where it reads.
        client: writes there.
        refused: as for `Refusing`.
    """

    def __init__(
        self, api: KubernetesAPI, client: KubernetesClient, refused: Mapping[str, int]
    ) -> None:
        super().__init__(client, refused)
        self._api = api

    async def get(self, path: str, query: Mapping[str, str], *, timeout: float) -> bytes:  # noqa: ASYNC109 - as in the client
        """The stored object at a path."""
        del query, timeout
        *_, collection, name = path.split("/")
        resource = RESOURCES[collection]
        namespace = NAMESPACE if resource.namespaced else ""
        found = self._api.store.get(resource, namespace, name)
        if found is None:
            raise KubernetesError(f"{path} not found", HTTPStatus.NOT_FOUND)
        return msgspec.json.encode(found)


class Readers:
    """Clients that read the bundle of one place, each at its own time, every 45 minutes.

    Args:
        api: where they read.
        place: the name of an APIService, or of the ConfigMap.
    """

    def __init__(self, api: KubernetesAPI, place: str) -> None:
        self._api = api
        self._place = place
        self._current = b""
        self._replaced: list[tuple[datetime, bytes]] = []

    def check(self, certificates: Sequence[bytes], now: datetime) -> None:
        """Check that each of them can verify all of these certificates."""
        place = self._place
        current = in_config_map(self._api) if place == CONFIG_MAP else published(self._api, place)
        if self._current not in (b"", current):
            self._replaced.append((now, self._current))
        self._current = current
        held = [bundle for until, bundle in self._replaced if until > now - RELOAD]
        for bundle in (current, *held):
            for certificate in certificates:
                assert verifies(certificate, bundle, now), f"{place} at {now}"


async def _settle(replica: Replica, now: datetime) -> datetime:
    try:
        return await replica.settle()
    except KubernetesError:
        return now + RETRY


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_every_certificate_verifies_through_the_years(
    client: KubernetesClient, api: KubernetesAPI, wall: WallClock, case: Case
) -> None:
    """Two replicas' certificates verify with each bundle that is kept up, new or 45 minutes old."""
    api.delete(API_SERVICES, "", EXTERNAL_METRICS)
    if not case.has_config_map:
        api.delete(CONFIG_MAPS, NAMESPACE, CONFIG_MAP)
    for name in case.exist:
        api.apply(API_SERVICES, api_service(name))
    kubernetes = Near(api, client, dict.fromkeys(case.refused, case.code))
    replicas = [Replica(kubernetes, wall, BOTH) for _ in range(2)]
    readers = [Readers(api, place) for place in case.kept]
    start = wall.now
    signed: dict[bytes, datetime] = {}
    while wall.now < start + timedelta(days=365) * YEARS:
        until = wall.now + REST
        for replica in replicas:
            until = min(until, await _settle(replica, wall.now))
            for reader in readers:
                reader.check([one.serving.certificate for one in replicas if one.pairs], wall.now)
            if case.overwritten:
                _overwrite(api)
            assert replica.managed.check() is None, "never about to expire"
        signed.setdefault(data(api)["ca.crt"], wall.now)
        # During a rotation every minute counts.
        is_rotating = "next-ca.published" in data(api) and case.days != LATE
        wall.now = min(until, wall.now + timedelta(minutes=20)) if is_rotating else until
    changes = [after - before for before, after in pairwise(signed.values())]
    assert len(changes) >= YEARS
    assert timedelta(days=case.days - 3) <= changes[0] <= max(changes) <= timedelta(days=case.days)


def _overwrite(api: KubernetesAPI) -> None:
    found = api.store.get(API_SERVICES, "", EXTERNAL_METRICS)
    assert found is not None
    if found["spec"] != {**_spec(found["spec"]), "caBundle": THEIRS}:
        api.apply(
            API_SERVICES,
            {
                "metadata": {"name": EXTERNAL_METRICS, "uid": metadata(found)["uid"]},
                "spec": {**_spec(found["spec"]), "caBundle": THEIRS},
            },
        )


def _spec(spec: object) -> dict[str, str]:
    assert isinstance(spec, dict)
    return spec
