"""Requests to the custom metrics API: errors, forms, counts and rights."""

from http import HTTPStatus
from urllib.parse import urlencode

import msgspec
import pytest
from aiohttp import hdrs

from metrics_server.api.custom_metrics import _known_selectors
from metrics_server.api.discovery import APIGroupList
from metrics_server.api.table import ObjectMeta, Table
from metrics_server.api.types import CUSTOM_GROUP
from metrics_server.simulator.kube.objects import SERVICES, Object
from metrics_server.simulator.kube.reviews import Access, Caller
from tests.support.clients import Client
from tests.support.custom_metrics import ACCEPT, GROUP, UTILIZATION, WEB, ask, items
from tests.support.exporters import page
from tests.support.harness import Cluster, client_of, cluster, configuration
from tests.support.objects import pod

TABLE = "application/json;g=meta.k8s.io;v=v1;as=Table"


@pytest.mark.parametrize(
    ("path", "query", "code", "says"),
    [
        ("default/pods/*/nope", "", 404, 'there is no metric "nope"'),
        ("default/pods/*/DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "", 400, "is a counter"),
        ("default/pods/*/gpu_utilization", "labelSelector=a%3D%3D%3D", 400, "unable to parse"),
        ("default/pods/*/gpu_utilization", "metricLabelSelector=,", 400, "expected: !, identifier"),
        ("default/pods/*/gpu_utilization", "metricLabelSelector=a%3E1", 400, "has no > or <"),
        ("default/pods/*/gpu_utilization", "fieldSelector=metadata.name%3Da", 400, "pods/NAME/"),
        ("default/pods/*/gpu_utilization", "watch=true", 405, "watch is not supported"),
        ("default/pods/*/gpu_utilization", "limit=a", 400, "it must be a whole number"),
        ("default/pods/*/gpu_utilization", "&".join(["a=b"] * 65), 400, "more than 64 parameters"),
        ("default/pods/*/gpu_utilization", "labelSelector=nope", 404, "the selector of the HPA's"),
        ("default/metrics/gpu_utilization", "metricLabelSelector=no", 404, "the object's selector"),
        ("default/pods", "", 404, "nothing is served at"),
        ("default/pods/gpu_utilization", "", 404, "nothing is served at"),
        ("default/pods/a/gpu_utilization/b", "", 404, "nothing is served at"),
        ("*/pods/*/gpu_utilization", "", 400, "a namespace is required"),
    ],
)
async def test_errors(client: Client, path: str, query: str, code: int, says: str) -> None:
    """Each is a Status with a sentence for `kubectl describe hpa`."""
    answer = await client.ask(f"{GROUP}/v1beta2/namespaces/{path}?{query}")
    assert (answer.status, says in answer.error().message) == (code, True), answer.text


async def test_too_many_requirements_together(client: Client) -> None:
    """Both selectors are checked for every pod, so their sum is limited."""
    many = ",".join(f"a{n}" for n in range(40))
    other = ",".join(f"b{n}" for n in range(40))
    query = urlencode({"labelSelector": many, "metricLabelSelector": other})
    path = f"{GROUP}/v1beta2/namespaces/default/pods/*/gpu_utilization"
    assert (
        "more than 64 requirements together"
        in (await client.ask(f"{path}?{query}")).error().message
    )


async def test_a_write_is_not_allowed(client: Client) -> None:
    """As for External metrics."""
    path = f"{GROUP}/v1beta2/namespaces/default/pods/*/gpu_utilization"
    assert (await client.ask(path, method="DELETE")).error().code == HTTPStatus.METHOD_NOT_ALLOWED


async def test_a_table_has_a_row_for_each_object(client: Client) -> None:
    """As kubectl prints it, where its path allows that."""
    answer = await ask(
        client, "default/pods/*/gpu_utilization", accept=TABLE, labelSelector="app=web"
    )
    assert answer.headers[hdrs.CONTENT_TYPE] == TABLE
    table = msgspec.json.decode(answer.body, type=Table)
    assert [column.name for column in table.column_definitions] == [
        "Name",
        "Metric",
        "Value",
        "Timestamp",
    ]
    assert [row.cells[:3] for row in table.rows] == [
        ("web-1", "gpu_utilization", "10"),
        ("web-2", "gpu_utilization", "47500m"),
    ]
    assert table.rows[0].object.metadata == ObjectMeta("web-1", "default")


@pytest.mark.parametrize(
    ("settings", "served"),
    [
        ({"customMetrics": False}, {"external.metrics.k8s.io"}),
        ({"externalMetrics": False}, {"custom.metrics.k8s.io"}),
        ({}, {"external.metrics.k8s.io", "custom.metrics.k8s.io"}),
    ],
)
async def test_either_api_can_be_turned_off(settings: dict[str, bool], served: set[str]) -> None:
    """It then disappears from discovery, and its paths do not exist."""
    config = configuration({**settings})
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("web-1", labels=WEB)], config) as made:
        groups = msgspec.json.decode((await made.client.ask("/apis")).body, type=APIGroupList)
        assert {group.name for group in groups.groups} == served
        external = await made.client.metric("default", "gpu_utilization")
        custom = await ask(made.client, "default/pods/*/gpu_utilization")
        assert (external.status == HTTPStatus.OK) == ("external.metrics.k8s.io" in served)
        assert (custom.status == HTTPStatus.OK) == ("custom.metrics.k8s.io" in served)


async def test_requests_are_counted_by_api(simulated: Cluster) -> None:
    """They are labelled with the metric, whichever API it is requested through."""
    await ask(simulated.client, "default/pods/*/gpu_utilization")
    await ask(simulated.client, "default/pods/*/nope")
    await simulated.client.metric("default", "gpu_utilization")
    text = (await simulated.client.ask("/metrics")).text
    name = "gpu_metrics_server_request_duration_seconds_count"
    for labels in (
        'api="custom",code="200",metric="gpu_utilization"',
        'api="custom",code="404",metric=""',
        'api="external",code="200",metric="gpu_utilization"',
    ):
        assert f"{name}{{{labels}}} 1.0" in text


# As recorded from the HPA controller of Kubernetes 1.36, through kube-apiserver's front proxy.
CONTROLLER = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
HEADERS = (
    (hdrs.ACCEPT, ACCEPT),
    (hdrs.ACCEPT_ENCODING, "gzip"),
    ("X-Remote-User", CONTROLLER),
    ("X-Remote-Group", "system:serviceaccounts"),
    ("X-Remote-Group", "system:serviceaccounts:kube-system"),
    ("X-Remote-Group", "system:authenticated"),
)


# The resource, the name and the subresource of a path.
ACCESSES = {
    "pods/%2A/gpu_utilization": ("pods", "*", "gpu_utilization"),
    "pods/web-1/GPU_utilization": ("pods", "web-1", "GPU_utilization"),
    "services/web/gpu_utilization": ("services", "web", "gpu_utilization"),
    "metrics/gpu_utilization": ("metrics", "gpu_utilization", ""),
}


@pytest.mark.parametrize("allowed", [True, False])
async def test_who_may_read_them(simulated: Cluster, *, allowed: bool) -> None:
    """The review has the attributes that RequestInfo derives, and its decision counts."""
    seen: list[Access] = []

    def decide(caller: Caller, asked: Access) -> Object:
        assert caller.name == CONTROLLER
        seen.append(asked)
        return {"allowed": allowed}

    simulated.trust.reviews.decide = decide
    simulated.api.apply(
        SERVICES,
        {"metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {**WEB}}},
    )
    proxy = simulated.trust.front_proxy()
    for path, (resource, name, subresource) in ACCESSES.items():
        seen.clear()
        target = f"{GROUP}/v1beta2/namespaces/default/{path}?labelSelector=app%3Dweb"
        async with client_of(simulated.server, proxy) as sender:
            answer = await sender.ask(target, HEADERS)
        (asked,) = seen
        assert asked == Access(
            "get", "default", CUSTOM_GROUP, "v1beta2", resource, name, subresource=subresource
        )
        if allowed:
            assert items(answer), path
            continue
        message = answer.error().message
        below = f"{resource}/{subresource}" if subresource else resource
        assert message.startswith(
            f'{resource}.{CUSTOM_GROUP} "{name}" is forbidden: User "{CONTROLLER}" cannot get '
            f'resource "{below}" in API group "{CUSTOM_GROUP}" in the namespace "default"'
        )


async def test_long_queries_are_not_kept(client: Client) -> None:
    """A cache that is bounded by count keeps only short texts."""
    before = _known_selectors.cache_info().currsize
    for length in (10, 300, 3000):
        selector = f"app=web,tier in ({'x' * 63},{length * 'y,'}z)"
        answer = await ask(client, "default/pods/*/gpu_utilization", labelSelector=selector)
        assert answer.status == HTTPStatus.NOT_FOUND
    assert _known_selectors.cache_info().currsize <= before + 1
