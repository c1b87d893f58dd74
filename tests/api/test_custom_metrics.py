"""Pods and Object metrics, over real TLS, from exporters on real sockets."""

from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from urllib.parse import urlencode

import msgspec
import pytest
from aiohttp import hdrs

from metrics_server.api.custom_metrics import _known_selectors
from metrics_server.api.discovery import APIGroupList
from metrics_server.api.table import ObjectMeta, Table
from metrics_server.api.types import CUSTOM_GROUP, CUSTOM_VERSIONS, MetricValue, MetricValueList
from metrics_server.simulator.kube.objects import (
    DEPLOYMENTS,
    JOBS,
    REPLICA_SETS,
    SERVICES,
    STATEFUL_SETS,
    Object,
    Resource,
)
from metrics_server.simulator.kube.reviews import Access, Caller
from tests.support.harness import (
    Answer,
    Client,
    Cluster,
    client_of,
    cluster,
    configuration,
    eventually,
    page,
    pod,
)

GROUP = f"/apis/{CUSTOM_GROUP}"
ACCEPT = "application/vnd.kubernetes.protobuf, */*"
TABLE = "application/json;g=meta.k8s.io;v=v1;as=Table"

UTILIZATION: Mapping[tuple[str, str], list[float]] = {
    ("default", "web-1"): [10],
    ("default", "web-2"): [40, 55],
    ("default", "batch-1"): [90],
    ("default", "web-draining"): [100],
    ("default", "web-loading"): [0],
    ("other", "web-1"): [70],
}
WEB = {"app": "web"}


@pytest.fixture
async def simulated() -> AsyncIterator[Cluster]:
    """Two Ready pods of one app, one without a sample, and others that must not count."""
    pods = [
        pod("web-1", labels={**WEB, "tier": "a"}),
        pod("web-2", labels={**WEB, "tier": "b"}, gpus=2),
        pod("web-3", labels={**WEB, "tier": "b"}),
        pod("web-draining", labels=WEB, deleted=True),
        pod("web-loading", labels=WEB, ready=False),
        pod("web-pending", labels=WEB, phase="Pending", ready=False),
        pod("web-cpu", labels=WEB, gpus=0),
        pod("batch-1", labels={"app": "batch"}),
        pod("web-1", labels=WEB, namespace="other"),
    ]
    async with cluster({"gpu-0": page(UTILIZATION)}, pods) as made:
        yield made


@pytest.fixture
def client(simulated: Cluster) -> Client:
    """A client of that cluster's server."""
    return simulated.client


async def ask(
    client: Client, path: str, *, version: str = "v1beta2", accept: str = ACCEPT, **query: str
) -> Answer:
    """The answer to a request as the HPA controller sends it."""
    encoded = f"?{urlencode(query)}" if query else ""
    target = f"{GROUP}/{version}/namespaces/{path}{encoded}"
    return await client.ask(target, {hdrs.ACCEPT: accept})


def items(answer: Answer) -> tuple[MetricValue, ...]:
    """The items of an answer in v1beta2."""
    assert answer.status == HTTPStatus.OK, answer.text
    assert answer.headers[hdrs.CONTENT_TYPE] == "application/json"
    values = msgspec.json.decode(answer.body, type=MetricValueList)
    assert (values.kind, values.api_version) == ("MetricValueList", f"{CUSTOM_GROUP}/v1beta2")
    assert values.items
    return values.items


def by_name(answer: Answer) -> dict[str, str]:
    """The values of an answer by the names of the objects."""
    found = items(answer)
    assert len({one.described_object.name for one in found}) == len(found)
    return {one.described_object.name: one.value for one in found}


@pytest.mark.parametrize("star", ["*", "%2A", "%2a"])
async def test_one_item_for_each_pod_that_has_a_sample(client: Client, star: str) -> None:
    """Pods without one are left out: the controller allows for them by itself."""
    answer = await ask(client, f"default/pods/{star}/gpu_utilization", labelSelector="app=web")
    assert by_name(answer) == {"web-1": "10", "web-2": "47500m"}
    one = items(answer)[0]
    assert (one.described_object.kind, one.described_object.namespace) == ("Pod", "default")
    assert one.described_object.api_version == "/v1"
    assert (one.metric.name, one.metric.selector) == ("gpu_utilization", None)
    assert b"windowSeconds" not in answer.body


async def test_the_old_version_has_the_same_in_its_own_form(client: Client) -> None:
    """The HPA controller reads either version (k8s.io/metrics, converter.go)."""
    new, old = [
        await ask(
            client,
            "default/pods/*/gpu_utilization",
            version=version,
            labelSelector="app=web",
            metricLabelSelector="tier in (a,c)",
        )
        for version in CUSTOM_VERSIONS
    ]
    (item,) = items(new)
    selector = {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "c"]}]}
    metric = msgspec.json.decode(msgspec.json.encode(item.metric))
    assert metric == {"name": "gpu_utilization", "selector": selector}
    assert old.json() == {
        "kind": "MetricValueList",
        "apiVersion": f"{CUSTOM_GROUP}/v1beta1",
        "metadata": {},
        "items": [
            {
                "describedObject": {
                    "kind": "Pod",
                    "namespace": "default",
                    "name": "web-1",
                    "apiVersion": "/v1",
                },
                "metricName": "gpu_utilization",
                "timestamp": item.timestamp,
                "value": "10",
                "selector": selector,
            }
        ],
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, {"web-1": "10", "web-2": "47500m", "batch-1": "90"}),
        ({"labelSelector": "app=web,tier!=a"}, {"web-2": "47500m"}),
        ({"labelSelector": "app=web", "metricLabelSelector": "tier=a"}, {"web-1": "10"}),
        ({"labelSelector": "app in (batch,none)"}, {"batch-1": "90"}),
        ({"metricLabelSelector": "!tier,app"}, {"batch-1": "90"}),
    ],
)
async def test_both_selectors_select_pods(
    client: Client, query: dict[str, str], expected: dict[str, str]
) -> None:
    """A pod must match both."""
    answer = await ask(client, "default/pods/*/gpu_utilization", **query)
    assert by_name(answer) == expected


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("gpu_utilization", "47500m"),
        ("GPU_Utilization", "47500m"),
        ("gpu_utilization_sum", "47500m"),
        ("gpu_utilization_max", "55"),
        ("DCGM_FI_DEV_GPU_UTIL", "47500m"),
    ],
)
async def test_one_pod_by_its_name(client: Client, metric: str, value: str) -> None:
    """The metric is spelled as in the request, and its aggregation over pods does not matter."""
    (item,) = items(await ask(client, f"default/pods/web-2/{metric}"))
    assert (item.described_object.name, item.metric.name, item.value) == ("web-2", metric, value)


@pytest.mark.parametrize(
    ("name", "reason", "says"),
    [
        ("web-9", "NotFound", 'are named "web-9": kubectl get pods -n default --show-labels lists'),
        ("web-cpu", "NotFound", "none of them requests a GPU"),
        ("web-loading", "ServiceUnavailable", "1 Running but not Ready"),
        ("web-draining", "ServiceUnavailable", "1 terminating"),
        ("web-pending", "ServiceUnavailable", "1 Pending"),
        ("web-3", "ServiceUnavailable", "0 of 1 pods have a measurement"),
    ],
)
async def test_never_an_empty_list(client: Client, name: str, reason: str, says: str) -> None:
    """Without any value it is an error that explains itself, as for an External metric."""
    status = (await ask(client, f"default/pods/{name}/gpu_utilization")).error()
    assert status.reason == reason
    assert says in status.message


QUICK = {"exporters": {"maxAge": "50ms"}}


async def failed(made: Cluster, path: str) -> Answer:
    """The answer to a request once the exporter's failure is noticed."""
    made.exporters["gpu-0"].status = 500
    return await eventually(
        lambda: ask(made.client, path), lambda answer: answer.status != HTTPStatus.OK
    )


@pytest.mark.parametrize("chain", [["last-known", "simulated"], ["simulated"]])
async def test_there_is_no_fallback_for_single_pods(chain: list[str]) -> None:
    """The controller damps by itself, and no number is made up for a pod."""
    config = configuration({**QUICK, "fallback": {"chain": chain}})
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("web-1", labels=WEB)], config) as made:
        path = "default/pods/*/gpu_utilization"
        assert by_name(await ask(made.client, path)) == {"web-1": "10"}
        message = (await failed(made, path)).error().message
        assert "0 of 1 pods have a measurement" in message
        assert "answered HTTP 500" in message
        external = await made.client.metric("default", "gpu_utilization")
        assert external.item().metric_labels["source"] == chain[-1]


OBJECTS: Mapping[str, tuple[Resource, Object, str]] = {
    "deployments.apps/web": (
        DEPLOYMENTS,
        {"selector": {"matchLabels": {"app": "web"}}},
        "apps/v1 Deployment",
    ),
    "statefulsets.apps/web": (
        STATEFUL_SETS,
        {"selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}},
        "apps/v1 StatefulSet",
    ),
    "replicasets.apps/web": (
        REPLICA_SETS,
        {
            "selector": {
                "matchExpressions": [
                    {"key": "app", "operator": "NotIn", "values": ["batch"]},
                    {"key": "tier", "operator": "Exists"},
                ]
            }
        },
        "apps/v1 ReplicaSet",
    ),
    "jobs.batch/web": (
        JOBS,
        {
            "selector": {
                "matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "job", "operator": "DoesNotExist"}],
            }
        },
        "batch/v1 Job",
    ),
    "services/web": (SERVICES, {"selector": {"app": "web"}}, "/v1 Service"),
}


@pytest.mark.parametrize("path", OBJECTS)
async def test_an_object_has_one_value_for_the_pods_that_it_selects(
    simulated: Cluster, path: str
) -> None:
    """It is the value that an External metric with that selector has."""
    resource, spec, described = OBJECTS[path]
    simulated.api.apply(
        resource, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}
    )
    (item,) = items(await ask(simulated.client, f"default/{path}/gpu_utilization"))
    reference = item.described_object
    assert f"{reference.api_version} {reference.kind}" == described
    assert (reference.namespace, reference.name) == ("default", "web")
    selector = "app=web" if path != "replicasets.apps/web" else "app=web,tier"
    external = (await simulated.client.metric("default", "gpu_utilization", selector)).item()
    assert item.value == external.value
    narrowed = await ask(
        simulated.client, f"default/{path}/gpu_utilization", metricLabelSelector="tier=a"
    )
    assert by_name(narrowed) == {"web": "10"}


async def test_a_namespace_has_one_value_for_its_pods(client: Client) -> None:
    """It is requested as `metrics`, since RequestInfo reads `namespaces` in another way."""
    (item,) = items(await ask(client, "default/metrics/gpu_utilization_sum"))
    assert (item.described_object.kind, item.described_object.name) == ("Namespace", "default")
    external = (await client.metric("default", "gpu_utilization_sum")).item()
    assert item.value == external.value
    narrowed = await ask(client, "default/metrics/gpu_utilization", metricLabelSelector="app=batch")
    assert by_name(narrowed) == {"default": "90"}


@pytest.mark.parametrize("chain", [["last-known", "simulated"], ["simulated"]])
async def test_an_object_has_no_simulated_value(chain: list[str]) -> None:
    """A custom metric has no labels, so nothing would mark it as simulated."""
    config = configuration(
        {"exporters": {"maxAge": "50ms"}, "fallback": {"chain": chain, "lastKnownMaxAge": "1s"}}
    )
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("web-1", labels=WEB)], config) as made:
        path = "default/metrics/gpu_utilization"
        assert by_name(await ask(made.client, path)) == {"default": "10"}
        answer = await failed(made, path)
        assert "0 of 1 pods have a measurement" in answer.error().message
        external = await made.client.metric("default", "gpu_utilization")
        assert external.item().metric_labels["source"] == "simulated"


async def test_an_object_repeats_its_last_value() -> None:
    """That is a measurement, and its timestamp says of when."""
    config = configuration({**QUICK, "fallback": {"chain": ["last-known", "error"]}})
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("web-1", labels=WEB)], config) as made:
        path = "default/metrics/gpu_utilization"
        (first,) = items(await ask(made.client, path))
        await failed(made, "default/pods/*/gpu_utilization")
        (again,) = items(await ask(made.client, path))
        assert (again.value, again.timestamp) == (first.value, first.timestamp)


@pytest.mark.parametrize(
    ("path", "reason", "says"),
    [
        (
            "deployments.apps/nope",
            "NotFound",
            'there is no Deployment "nope" in namespace "default"',
        ),
        ("services/headless", "NotFound", "has no selector, so it has no pods to measure"),
        ("nodes/gpu-0", "NotFound", 'metrics of "nodes" are not served: an Object metric can'),
        ("deployments/web", "NotFound", 'metrics of "deployments" are not served'),
        ("deployments.apps/*", "BadRequest", '"*" stands for all pods only'),
    ],
)
async def test_objects_without_a_value(
    simulated: Cluster, path: str, reason: str, says: str
) -> None:
    """Each error says what to name instead."""
    headless: Object = {"metadata": {"name": "headless", "namespace": "default"}, "spec": {}}
    simulated.api.apply(SERVICES, headless)
    status = (await ask(simulated.client, f"default/{path}/gpu_utilization")).error()
    assert status.reason == reason
    assert says in status.message


async def test_an_object_that_may_not_be_read(simulated: Cluster) -> None:
    """The message says which right is missing, and what has it."""
    simulated.api.faults.forbid("/deployments/")
    status = (await ask(simulated.client, "default/deployments.apps/web/gpu_utilization")).error()
    assert status.reason == "ServiceUnavailable"
    assert "deployments/components/with-custom-metrics has the right to" in status.message


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
    """Both selectors are checked for every pod, so both count."""
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
    """What kubectl prints where its path allows it."""
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
    """It is then in no discovery document, and its paths do not exist."""
    config = configuration({**settings})
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("web-1", labels=WEB)], config) as made:
        groups = msgspec.json.decode((await made.client.ask("/apis")).body, type=APIGroupList)
        assert {group.name for group in groups.groups} == served
        external = await made.client.metric("default", "gpu_utilization")
        custom = await ask(made.client, "default/pods/*/gpu_utilization")
        assert (external.status == HTTPStatus.OK) == ("external.metrics.k8s.io" in served)
        assert (custom.status == HTTPStatus.OK) == ("custom.metrics.k8s.io" in served)


async def test_requests_are_counted_by_api(simulated: Cluster) -> None:
    """The metric's label is the metric, whichever API it is requested through."""
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


# As recorded of the HPA controller of Kubernetes 1.36, through kube-apiserver's front proxy.
CONTROLLER = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
HEADERS = (
    (hdrs.ACCEPT, ACCEPT),
    (hdrs.ACCEPT_ENCODING, "gzip"),
    ("X-Remote-User", CONTROLLER),
    ("X-Remote-Group", "system:serviceaccounts"),
    ("X-Remote-Group", "system:serviceaccounts:kube-system"),
    ("X-Remote-Group", "system:authenticated"),
)


@pytest.mark.parametrize(
    ("path", "access"),
    [
        ("pods/%2A/gpu_utilization", ("pods", "*", "gpu_utilization")),
        ("pods/web-1/GPU_utilization", ("pods", "web-1", "GPU_utilization")),
        ("services/web/gpu_utilization", ("services", "web", "gpu_utilization")),
        ("metrics/gpu_utilization", ("metrics", "gpu_utilization", "")),
    ],
)
@pytest.mark.parametrize("allowed", [True, False])
async def test_who_may_read_them(
    simulated: Cluster, path: str, access: tuple[str, str, str], *, allowed: bool
) -> None:
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
    target = f"{GROUP}/v1beta2/namespaces/default/{path}?labelSelector=app%3Dweb"
    async with client_of(simulated.server, simulated.trust.front_proxy()) as proxy:
        answer = await proxy.ask(target, HEADERS)
    resource, name, subresource = access
    assert seen == [
        Access("get", "default", CUSTOM_GROUP, "v1beta2", resource, name, subresource=subresource)
    ]
    if allowed:
        assert items(answer)
    else:
        message = answer.error().message
        below = f"{resource}/{subresource}" if subresource else resource
        assert message.startswith(
            f'{resource}.{CUSTOM_GROUP} "{name}" is forbidden: User "{CONTROLLER}" cannot get '
            f'resource "{below}" in API group "{CUSTOM_GROUP}" in the namespace "default"'
        )


async def test_long_queries_are_not_kept(client: Client) -> None:
    """A cache that is bounded by count holds short texts only."""
    before = _known_selectors.cache_info().currsize
    for length in (10, 300, 3000):
        selector = f"app=web,tier in ({'x' * 63},{length * 'a,'}b)"
        answer = await ask(client, "default/pods/*/gpu_utilization", labelSelector=selector)
        assert answer.status == HTTPStatus.NOT_FOUND
    assert _known_selectors.cache_info().currsize <= before + 1
