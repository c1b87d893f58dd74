"""Object metrics: what is read for them, and what is not."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

import pytest

from metrics_server.errors import NoObjectError
from metrics_server.kube.workloads import KINDS, Workloads
from tests.support.exporters import page
from tests.support.harness import cluster, configuration
from tests.support.objects import pod

BASE = "/apis/custom.metrics.k8s.io/v1beta2/namespaces"
PAGES = {"gpu-0": page({("default", "a"): [40], ("kube-system", "b"): [99]})}
PODS = [pod("a"), pod("b", namespace="kube-system")]


async def test_a_namespace_is_that_of_the_path() -> None:
    """No other namespace can be named after it: its pods are not the ones measured."""
    async with cluster(PAGES, PODS) as made:
        for name in ("kube-system", "*", "default"):
            answer = await made.client.ask(f"{BASE}/default/metrics/{name}/gpu_utilization")
            assert answer.status == HTTPStatus.NOT_FOUND, answer.text
        assert (await made.client.ask(f"{BASE}/default/metrics/gpu_utilization")).status == 200


async def test_nothing_is_read_for_a_question_that_has_no_answer() -> None:
    """An unknown metric, or a namespace that is not served, is an error before that."""
    config = configuration({"pods": {"namespaces": ["default"]}})
    async with cluster(PAGES, PODS, config) as made:
        for path, says in (
            ("other/deployments.apps/web/gpu_utilization", 'namespace "other" is not watched'),
            ("default/deployments.apps/web/nope", 'there is no metric "nope"'),
        ):
            answer = await made.client.ask(f"{BASE}/{path}")
            assert says in answer.error().message
        assert not [one for one in made.api.requests if "/deployments" in one.path]


class SlowApi:
    """A Kubernetes API that answers when allowed to, and counts waiting requests."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.waiting = self.most = 0

    async def get(self, path: str, query: Mapping[str, str], *, timeout: float) -> bytes:  # noqa: ASYNC109 - as in the client
        """Wait, and return a Deployment."""
        assert (path.startswith("/apis/apps/v1/"), query, timeout > 0) == (True, {}, True)
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await self.may_answer.wait()
        self.waiting -= 1
        return b'{"spec":{"selector":{"matchLabels":{"app":"a"}}}}'


async def test_few_objects_are_read_at_once() -> None:
    """Reviews need connections to the same API, whatever objects callers request."""
    api = SlowApi()
    workloads = Workloads(api)
    kind = KINDS["deployments.apps"]
    reads = [
        asyncio.create_task(workloads.selector(kind, "default", f"web-{n}")) for n in range(100)
    ]
    for _ in range(10):
        await asyncio.sleep(0)
    assert api.waiting == 16
    api.may_answer.set()
    assert {str(selector) for selector in await asyncio.gather(*reads)} == {"app=a"}
    assert api.most == 16


@pytest.mark.parametrize(("namespace", "name"), [("default", "."), ("default", ".."), ("..", "a")])
async def test_names_that_would_lead_elsewhere(namespace: str, name: str) -> None:
    """In an HTTP client's URL they would change the path."""
    with pytest.raises(NoObjectError, match="there is no Deployment"):
        await Workloads(SlowApi()).selector(KINDS["deployments.apps"], namespace, name)
