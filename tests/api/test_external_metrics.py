"""The metric request, over real TLS, from exporters on real sockets."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

import msgspec
import pytest
from aiohttp import hdrs
from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from metrics_server.api.status import Status
from metrics_server.api.types import GROUP_VERSION, ExternalMetricValue
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.families import MIB
from metrics_server.simulator.kube.objects import Object
from tests.support.harness import (
    Answer,
    Client,
    Cluster,
    PageExporter,
    cluster,
    configuration,
    page,
    pod,
)

PATH = f"/apis/{GROUP_VERSION}/namespaces/default"
METRIC = f"{PATH}/gpu_utilization"
TABLE = "application/json;g=meta.k8s.io;v=v1;as=Table"

PODS = {
    "a": {"app": "inference", "tier": "gpu", "rank": "1"},
    "b": {"app": "inference", "tier": "accel", "rank": "2", "canary": ""},
    "c": {"app": "training", "team.example.com/name": "blue-1"},
}
# Powers of two: the mean of any of them tells of which it is.
UTILIZATION = {"a": 1, "b": 4, "c": 16}


@pytest.fixture
async def simulated() -> AsyncIterator[Cluster]:
    """A cluster of three pods that differ in their labels, and one in another namespace."""
    gpus = {("default", name): [value] for name, value in UTILIZATION.items()}
    pods = [pod(name, labels=labels) for name, labels in PODS.items()]
    async with cluster(
        {"gpu-0": page({**gpus, ("other", "a"): [64]})},
        [*pods, pod("a", namespace="other")],
    ) as made:
        yield made


@pytest.fixture
def client(simulated: Cluster) -> Client:
    """What asks the server of that cluster."""
    return simulated.client


@contextmanager
def nothing_bad_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No traceback is logged, nor anything that calls for a person."""
    with caplog.at_level(logging.DEBUG), capture_logs() as events:
        yield
    for event in events:
        assert event["log_level"] in ("debug", "info"), event
        assert "exc_info" not in event
        assert "\n" not in str(event)
    ours = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert not [record for record in ours if record.exc_info or record.levelno > logging.INFO]


async def test_one_item(client: Client) -> None:
    """The answer is one item, of whole seconds in UTC, that says where it came from."""
    before = datetime.now(UTC).replace(microsecond=0)
    item = (await client.metric("default", "gpu_utilization", "app=inference")).item()
    # The mean of 1 and 4, rounded half up.
    assert structs.replace(item, timestamp="") == ExternalMetricValue(
        metric_name="gpu_utilization",
        metric_labels={"source": "exporters", "pods": "2/2"},
        timestamp="",
        value="3",
    )
    told = datetime.strptime(item.timestamp, "%Y-%m-%dT%H:%M:%S%z")
    assert before <= told <= before + timedelta(seconds=10)


async def test_the_item_as_it_is_written(client: Client) -> None:
    """Fields have Kubernetes' names; a window, of which there is none, is left out."""
    body = (await client.metric("default", "gpu_utilization")).json()
    assert list(body) == ["kind", "apiVersion", "metadata", "items"]
    assert body["metadata"] == {}
    (item,) = msgspec.convert(body["items"], list[dict[str, object]])
    assert list(item) == ["metricName", "metricLabels", "timestamp", "value"]


@pytest.mark.parametrize(
    ("query", "pods"),
    [
        ("", "abc"),
        ("?", "abc"),
        ("?labelSelector", "abc"),
        ("?labelSelector=", "abc"),
        ("?labelSelector=app%3Dinference", "ab"),
        ("?labelSelector=app%3D%3Dinference", "ab"),
        ("?labelSelector=app=inference", "ab"),
        ("?labelSelector=app%21%3Dinference", "c"),
        # An absent label is not equal to any value.
        ("?labelSelector=tier!%3Dgpu", "bc"),
        ("?labelSelector=tier+in+%28accel%2Cgpu%29", "ab"),
        ("?labelSelector=tier%20in%20(gpu)", "a"),
        ("?labelSelector=tier+notin+%28gpu%29", "bc"),
        ("?labelSelector=tier", "ab"),
        ("?labelSelector=canary", "b"),
        ("?labelSelector=canary%3D", "b"),
        ("?labelSelector=%21canary", "ac"),
        ("?labelSelector=rank%3E1", "b"),
        ("?labelSelector=rank<2", "a"),
        ("?labelSelector=team.example.com%2Fname%3Dblue-1", "c"),
        # As the HPA controller sent it: sorted, and form-encoded, so that a plus is a space.
        (
            (
                "?labelSelector=app%3Dinference%2C%21canary%2Ctier+in+%28accel%2Cgpu%29%2C"
                "x+notin+%28a%2Cb%29"
            ),
            "a",
        ),
        # As in Go's url.Values, the first one counts.
        ("?labelSelector=tier%3Dgpu&labelSelector=app%3Dtraining", "a"),
        ("?limit=1&continue=xyz&resourceVersion=0&timeoutSeconds=0", "abc"),
        ("?limit=&timeoutSeconds=", "abc"),
        ("?limit=-1&resourceVersionMatch=Exact&pretty=true&unknown=1", "abc"),
        ("?watch=false", "abc"),
        ("?watch=0", "abc"),
        ("?fieldSelector=", "abc"),
        ("?fieldSelector=metadata.namespace%3Ddefault", "abc"),
        ("?fieldSelector=metadata.namespace%3D%3Ddefault,&labelSelector=tier%3Dgpu", "a"),
    ],
)
async def test_which_pods_a_query_means(client: Client, query: str, pods: str) -> None:
    """Every operator of a selector selects as in Kubernetes; other parameters change nothing."""
    item = (await client.ask(f"{METRIC}{query}")).item()
    mean = sum(UTILIZATION[name] for name in pods) / len(pods)
    assert item.value == str(int(mean + 0.5))
    assert item.metric_labels["pods"] == f"{len(pods)}/{len(pods)}"


@pytest.mark.parametrize(
    "name",
    [
        "gpu_utilization",
        "GPU_UTILIZATION",
        "Gpu_Utilization",
        "gpu%5Futilization",
        "%67pu_utilization",
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_name_in_any_case_and_encoding(client: Client, name: str, slash: str) -> None:
    """client-go lowercases names and may percent-encode them: each is the same metric."""
    item = (await client.ask(f"{PATH}/{name}{slash}")).item()
    assert (item.metric_name.lower(), item.value) == ("gpu_utilization", "7")


async def test_a_namespace_is_kept_to(client: Client) -> None:
    """A pod of the same name in another namespace is another pod."""
    assert (await client.metric("other", "gpu_utilization")).item().value == "64"


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "application/*",
        "application/json",
        "application/vnd.kubernetes.protobuf, */*",
        "application/vnd.kubernetes.protobuf,application/json",
        "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
        f"{TABLE};q=0.1,application/json",
    ],
)
async def test_json_for_who_takes_it(client: Client, accept: str | None) -> None:
    """The HPA's client asks for protobuf and takes JSON, which says what it is."""
    answer = await client.ask(METRIC, {} if accept is None else {hdrs.ACCEPT: accept})
    assert answer.item().value == "7"


async def test_a_table_for_kubectl(client: Client) -> None:
    """`kubectl get` asks for a Table, whose row has the value and where it came from."""
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    answer = await client.ask(METRIC, {hdrs.ACCEPT: accept})
    assert (answer.status, answer.headers[hdrs.CONTENT_TYPE]) == (200, TABLE)
    table = answer.json()
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    (row,) = msgspec.convert(table["rows"], list[dict[str, object]])
    cells = msgspec.convert(row["cells"], list[str])
    assert cells[:4] == ["gpu_utilization", "7", "exporters", "3/3"]


@pytest.mark.parametrize(
    "accept", ["application/vnd.kubernetes.protobuf", "text/plain", "application/json;q=0"]
)
async def test_no_acceptable_form(client: Client, accept: str) -> None:
    """Who takes no JSON gets 406, with a Status all the same."""
    status = (await client.ask(METRIC, {hdrs.ACCEPT: accept})).error()
    assert (status.code, status.reason) == (406, "NotAcceptable")
    assert status.message.startswith(
        f'"{accept}" matches none of the media types offered: application/json'
    )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=x", 'limit is "x": it must be a whole number'),
        ("limit=1.5", 'limit is "1.5": it must be a whole number'),
        ("limit=%00", 'limit is "\\x00": it must be a whole number'),
        ("timeoutSeconds=5s", 'timeoutSeconds is "5s": it must be a whole number'),
        ("limit=" + "9" * 30, 'limit is "' + "9" * 30 + '": it must be a whole number'),
        (
            "labelSelector=app%3D%3D%3Dx",
            "unable to parse requirement: found '=', expected: identifier",
        ),
        (
            "labelSelector=app+in+x",
            "unable to parse requirement: found 'x' expected: '('",
        ),
        ("labelSelector=,", "found ',', expected: !, identifier, or 'end of string'"),
        ("labelSelector=%00", "unable to parse requirement: <nil>: Invalid value: "),
        ("labelSelector=%FF", "the query is not form-encoded UTF-8: "),
        ("labelSelector=%ED%A0%80", "the query is not form-encoded UTF-8: "),
        (
            "labelSelector=app+in+(" + "x," * 4400 + "x)",
            "the label selector has 8810 characters, but at most 8192 are allowed: ",
        ),
        (
            "fieldSelector=status.phase%3DRunning",
            (
                'fieldSelector: "status.phase" is not supported: select pods by their labels, '
                "with labelSelector"
            ),
        ),
        # Ignored, these would be answered by the mean of all pods.
        *(
            (
                f"labelSelector=app%3Dinference&fieldSelector={asked}",
                (
                    f'fieldSelector: "{shown}" cannot select a pod: an answer is one number for '
                    "all pods whose labels match. Ask for one pod by a label that only it has, "
                    "such as labelSelector=statefulset.kubernetes.io/pod-name=NAME for a "
                    "StatefulSet's"
                ),
            )
            for asked, shown in (
                ("metadata.name%3Da", "metadata.name=a"),
                ("metadata.name%3D%3Da", "metadata.name==a"),
                ("metadata.name%21%3Da", "metadata.name!=a"),
                ("metadata.namespace%3Ddefault,metadata.name%3Da", "metadata.name=a"),
            )
        ),
        *(
            (
                f"fieldSelector={asked}",
                f'fieldSelector: "{shown}" is not the namespace of the path, "default"',
            )
            for asked, shown in (
                ("metadata.namespace%3Dother", "metadata.namespace=other"),
                ("metadata.namespace%21%3Ddefault", "metadata.namespace!=default"),
                ("metadata.namespace%3D", "metadata.namespace="),
            )
        ),
        ("fieldSelector=x", 'fieldSelector: "x" does not have the form name=value'),
    ],
)
async def test_a_malformed_query(
    client: Client, caplog: pytest.LogCaptureFixture, query: str, message: str
) -> None:
    """What cannot be understood is 400 with a sentence, and never taken for something else."""
    with nothing_bad_in_the_log(caplog):
        status = (await client.ask(f"{METRIC}?{query}")).error()
    assert (status.code, status.reason) == (400, "BadRequest")
    assert status.message.startswith(message)


@pytest.mark.parametrize("query", ["watch=true", "watch=1", "watch", "watch=T&limit=x"])
async def test_a_watch_is_refused_at_once(client: Client, simulated: Cluster, query: str) -> None:
    """A watch is 405, without a scrape first, though exporters would never answer."""
    simulated.exporters["gpu-0"].may_answer.clear()
    status = (await client.ask(f"{METRIC}?{query}")).error()
    assert (status.code, status.reason) == (405, "MethodNotAllowed")
    assert status.message.startswith("watch is not supported on resources of kind gpu_utilization")
    assert simulated.exporters["gpu-0"].scrapes == 0


@pytest.mark.parametrize("namespace", ["%FF", "%C3%28"])
async def test_a_path_that_is_not_utf8(client: Client, namespace: str) -> None:
    """A part of the path that is no text is 400, and is quoted as it was sent."""
    for path in (f"{namespace}/gpu_utilization", f"default/{namespace}"):
        status = (await client.ask(f"/apis/{GROUP_VERSION}/namespaces/{path}")).error()
        assert (status.code, status.message) == (400, f'"{namespace}" is not UTF-8')


@pytest.mark.parametrize(
    "name", ["cpu", "gpu_utilization%00", "gpu utilization", "%F0%9F%98%80", "."]
)
async def test_an_unknown_metric(client: Client, name: str) -> None:
    """It is 404, and the sentence names every mean that there is."""
    status = (await client.ask(f"{PATH}/{name.replace(' ', '%20')}")).error()
    assert (status.code, status.reason) == (404, "NotFound")
    assert status.message.startswith('there is no metric "')
    known = status.message.partition("served here are: ")[2].partition(";")[0].split(", ")
    assert known == sorted(rule.name for rule in CATALOGUE if rule.over_pods == "avg")
    assert status.message.isprintable()


async def test_unknown_names_do_not_grow_the_registry(client: Client) -> None:
    """However many names a client makes up, the server's own metrics stay as many."""

    async def series() -> set[str]:
        text = (await client.ask("/metrics")).text
        families = text_string_to_metric_families(text)
        return {f"{s.name}{s.labels}" for family in families for s in family.samples}

    await client.ask(f"{PATH}/made-up-0")
    before = await series()
    for number in range(1, 20):
        (await client.ask(f"{PATH}/made-up-{number}")).error()
        (await client.ask(f"{PATH}/made-up-{number}/x")).error()
    assert await series() == before
    assert not [one for one in before if "made-up" in one]


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
    """Whatever bytes come in, one short Status goes out, and nothing bad is logged."""
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
    """One client's nonsense costs no other client an answer."""
    await client.send(b"hello\r\n\r\n")
    assert (await client.metric("default", "gpu_utilization")).item().value == "7"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD"])
@pytest.mark.parametrize("name", ["gpu_utilization", "cpu"])
async def test_a_metric_can_only_be_read(
    client: Client, simulated: Cluster, method: str, name: str
) -> None:
    """Any other method is 405, and nothing is measured for it."""
    answer = await client.ask(f"{PATH}/{name}", method=method)
    assert answer.status == 405
    assert answer.headers[hdrs.ALLOW] == "GET"
    assert simulated.exporters["gpu-0"].scrapes == 0


def a_pod(namespace: str, app: str, name: str, resource: str = "nvidia.com/gpu") -> Object:
    """A pod of the recorded pages, all of which are served on one node."""
    return pod(name, namespace=namespace, labels={"app": app}, resource=resource)


MIG = "nvidia.com/mig-1g.10gb"
PAGES = {
    "dcgm-2.x": [
        a_pod("ml-serving", "bert", "bert-server-6d5f7c9b88-x2x7k"),
        a_pod("ml-serving", "bert", "bert-server-6d5f7c9b88-q8r5m"),
        a_pod("research", "train", "train-resnet-0"),
    ],
    "dcgm-3.x-8gpu-multi-pod": [
        a_pod("inference", "vllm", "vllm-llama3-70b-7c9d8b6f5d-4xkqp"),
        a_pod("inference", "vllm", "vllm-llama3-70b-7c9d8b6f5d-tz9lm"),
        a_pod("inference", "embedder", "embedder-5f6b4c7d9c-h2v8w"),
        a_pod("notebooks", "jupyter", "jupyter-alice-0"),
    ],
    "dcgm-4.x-8gpu": [
        a_pod("inference", "vllm", "vllm-llama3-70b-66c7f7b9d4-8qv2n"),
        a_pod("inference", "vllm", "vllm-llama3-70b-66c7f7b9d4-lm5jd"),
        a_pod("inference", "embedder", "embedder-58d9f6c7bb-w7c4z"),
        a_pod("notebooks", "jupyter", "jupyter-alice-0"),
    ],
    "dcgm-mig": [
        a_pod("serving", "llm", "llm-a-5c8d7f6b9-kx2lp", "nvidia.com/mig-3g.40gb"),
        a_pod("serving", "embed", "embed-b-7d9c5b4f8-zz7wq", "nvidia.com/mig-2g.20gb"),
        a_pod("serving", "tiny", "tiny-c-6f5d8c7b4-m4q9t", MIG),
        *(a_pod("serving", "worker", f"worker-{n}", MIG) for n in range(4)),
        a_pod("training", "pretrain", "pretrain-0"),
    ],
}

# Reckoned by hand from the rows of the page: first a pod's mean over its GPUs, then the mean over
# pods, then rounded half up.
NUMBERS: list[tuple[str, str, str, str, float]] = [
    # Two pods with one GPU each.
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_utilization", 93),  # (97 + 88) / 2 = 92.5
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_memory_copy_utilization", 40),  # (46 + 33) / 2
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_memory_used", 26820.5 * MIB),  # 29584, 24057
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_memory_free", 5689.5 * MIB),  # 2926, 8453
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_power_usage", 261),  # 278.934, 243.447: 261.1905
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_temperature", 62),  # 62, 61: 61.5
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_sm_clock", 1530),  # both
    ("dcgm-2.x", "ml-serving", "app=bert", "gpu_memory_clock", 877),  # both
    # One pod with two GPUs; the four idle GPUs of the node, at 0 %, belong to nobody.
    ("dcgm-2.x", "research", "", "gpu_utilization", 100),  # 100, 100
    ("dcgm-2.x", "research", "", "gpu_memory_copy_utilization", 68),  # (67 + 68) / 2 = 67.5
    ("dcgm-2.x", "research", "", "gpu_power_usage", 285),  # 281.164, 288.163: 284.6635
    # Two pods with two GPUs each: (93 + 95) / 2 = 94 and (41 + 38) / 2 = 39.5, together 66.75.
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_utilization", 67),
    # (27 + 35) / 2 = 31 and (17 + 21) / 2 = 19, together 25.
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_memory_copy_utilization", 25),
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_memory_used", 75377 * MIB),
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_memory_free", 5674 * MIB),
    # 361.407 and 205.9245, together 283.66575.
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_power_usage", 284),
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_temperature", 54),  # 62, 45.5: 53.75
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_sm_clock", 1410),
    ("dcgm-3.x-8gpu-multi-pod", "inference", "app=vllm", "gpu_memory_clock", 1593),
    # Three pods, 94, 39.5 and 12: 145.5 / 3 = 48.5. The mean over their five GPUs would be 55.8.
    ("dcgm-3.x-8gpu-multi-pod", "inference", "", "gpu_utilization", 49),
    # One pod, one GPU of which is idle: (0 + 67) / 2 = 33.5.
    ("dcgm-3.x-8gpu-multi-pod", "notebooks", "app=jupyter", "gpu_utilization", 34),
    # (99 + 98) / 2 = 98.5 and (71 + 69) / 2 = 70, together 84.25.
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_utilization", 84),
    # (63 + 20) / 2 = 41.5 and (42 + 30) / 2 = 36, together 38.75.
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_memory_copy_utilization", 39),
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_memory_used", 136002 * MIB),
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_memory_free", 7159 * MIB),
    # 644.05 and 469.9435, together 556.99675.
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_power_usage", 557),
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_temperature", 58),  # 63, 53.5: 58.25
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_sm_clock", 1980),
    ("dcgm-4.x-8gpu", "inference", "app=vllm", "gpu_memory_clock", 3201),
    # A label of the pod, which the exporter calls pod_label_namespace, is not its namespace.
    ("dcgm-4.x-8gpu", "inference", "app=embedder", "gpu_utilization", 23),
    ("dcgm-4.x-8gpu", "inference", "", "gpu_utilization", 64),  # 98.5, 70, 23: 63.83
    ("dcgm-4.x-8gpu", "notebooks", "app in (jupyter,x)", "gpu_utilization", 27),  # 0, 54
    ("dcgm-4.x-8gpu", "notebooks", "", "gpu_sm_clock", 1163),  # 345, 1980: 1162.5
    # Instances have no GPU_UTIL; the busy share of the graphics engine stands in for it.
    ("dcgm-mig", "serving", "app=llm", "gpu_utilization", 81),  # 0.812345
    ("dcgm-mig", "serving", "app=tiny", "gpu_utilization", 0),
    ("dcgm-mig", "serving", "app in (llm,embed)", "gpu_utilization", 51),  # 0.812345, 0.214433
    # Four instances of one GPU, a pod each: (95 + 91 + 40 + 7) / 4 = 58.25.
    ("dcgm-mig", "serving", "app=worker", "gpu_utilization", 58),
    ("dcgm-mig", "serving", "app=worker", "gpu_memory_used", 5752.5 * MIB),  # 23010 / 4
    ("dcgm-mig", "serving", "app=worker", "gpu_memory_free", 4231.5 * MIB),  # 16926 / 4
    # What instances cannot tell apart is their GPU's.
    ("dcgm-mig", "serving", "app=worker", "gpu_power_usage", 613),  # 612.853
    ("dcgm-mig", "serving", "app=worker", "gpu_temperature", 60),
    ("dcgm-mig", "serving", "app=worker", "gpu_sm_clock", 1980),
    ("dcgm-mig", "serving", "app=worker", "gpu_memory_clock", 2619),
    ("dcgm-mig", "serving", "", "gpu_utilization", 48),  # 335.6778 / 7 = 47.95
    # Whole GPUs of the same node: GPU_UTIL says 97, though the engine was busy 92 % of the time.
    ("dcgm-mig", "training", "", "gpu_utilization", 97),
    ("dcgm-mig", "training", "", "gpu_memory_copy_utilization", 24),  # 23, 31, 22, 20
]


@pytest.mark.parametrize("name", PAGES)
async def test_the_numbers_of_a_real_page(pages: Path, name: str) -> None:
    """From a page as dcgm-exporter writes it come just the numbers of the pods in question."""
    expected = {
        (namespace, metric, selector): str(int(number))
        for of, namespace, selector, metric, number in NUMBERS
        if of == name
    }
    async with cluster({"gpu-0": (pages / f"{name}.prom").read_text()}, PAGES[name]) as simulated:
        items = {
            question: (await simulated.client.metric(*question)).item() for question in expected
        }
    assert {question: item.value for question, item in items.items()} == expected
    for item in items.values():
        covered, _, asked_for = item.metric_labels["pods"].partition("/")
        assert covered == asked_for


async def test_pods_on_several_nodes(pages: Path) -> None:
    """Each pod is read from the exporter of its own node, and no other exporter is asked."""
    nodes = {
        "gpu-0": page({("default", "a"): [10], ("default", "b"): [99]}),
        "gpu-1": page({("default", "a"): [99], ("default", "b"): [30]}),
        "gpu-2": (pages / "dcgm-2.x.prom").read_text(),
    }
    async with cluster(nodes, [pod("a", node="gpu-0"), pod("b", node="gpu-1")]) as simulated:
        item = (await simulated.client.metric("default", "gpu_utilization")).item()
        assert (item.value, item.metric_labels["pods"]) == ("20", "2/2")
        assert {n: e.scrapes for n, e in simulated.exporters.items()} == {
            "gpu-0": 1,
            "gpu-1": 1,
            "gpu-2": 0,
        }


async def asked(
    pods: list[Object], text: str = "", metric: str = "gpu_utilization"
) -> tuple[int, str]:
    """The code and the message for a question about app=x, with one node and no fallback."""
    async with cluster({"gpu-0": text}, pods) as simulated:
        return told(await simulated.client.metric("default", metric, "app=x"))


def told(answer: Answer) -> tuple[int, str]:
    """The code and the message of an error, whose reason must go with the code."""
    status = answer.error()
    reasons = {404: "NotFound", 503: "ServiceUnavailable"}
    assert status.reason == reasons[status.code]
    return status.code, status.message


X = {"app": "x"}


async def test_no_pod_matches() -> None:
    """The sentence has the selector and the namespace, and what to compare."""
    assert await asked([pod("a", labels={"app": "y"}), pod("a", namespace="n", labels=X)]) == (
        HTTPStatus.NOT_FOUND,
        (
            'no pods in namespace "default" match "app=x": compare the metric\'s selector in the '
            "HPA with the labels of the pods (kubectl get pods -n default --show-labels)"
        ),
    )


async def test_none_requests_a_gpu() -> None:
    """The sentence says what a container would have to set."""
    assert await asked([pod("a", labels=X, gpus=0), pod("b", labels=X, gpus=0)]) == (
        HTTPStatus.NOT_FOUND,
        (
            'pods in namespace "default" match "app=x" (2), but none of them requests a GPU: a '
            "container must set resources.limits for one of the resources under "
            "pods.gpuResources, such as nvidia.com/gpu"
        ),
    )


async def test_none_is_ready_yet() -> None:
    """The sentence counts the pods by their state; they are there, so it is no 404."""
    pods = [
        pod("a", labels=X, ready=False),
        pod("b", labels=X, ready=False),
        pod("c", labels=X, phase="Pending", ready=False),
        pod("d", labels=X, deleted=True),
    ]
    assert await asked(pods) == (
        HTTPStatus.SERVICE_UNAVAILABLE,
        (
            'GPU pods in namespace "default" match "app=x" (4), but none can be measured '
            "yet: 2 Running but not Ready, 1 Pending, 1 terminating"
        ),
    )


async def test_no_exporter_on_their_nodes() -> None:
    """The sentence names the nodes."""
    assert await asked([pod("a", labels=X, node="gpu-8"), pod("b", labels=X, node="gpu-9")]) in [
        (
            HTTPStatus.SERVICE_UNAVAILABLE,
            (
                f"0 of 2 pods have a measurement: no exporter is ready on node {one}, node {other} "
                "(is one Running there, and its Service listed under exporters.services?)"
            ),
        )
        for one, other in (("gpu-8", "gpu-9"), ("gpu-9", "gpu-8"))
    ]


async def test_exporters_that_fail() -> None:
    """The sentence names each exporter by its URL, and how it failed."""
    pods = [pod(f"p{n}", labels=X, node=f"gpu-{n}") for n in range(4)]
    config = configuration(
        {"fallback": {"chain": ["error"]}, "exporters": {"timeout": "300ms", "maxAge": "1ms"}}
    )
    async with cluster({f"gpu-{n}": "" for n in range(3)}, pods[:3], config) as simulated:
        broken, silent, cut = simulated.exporters.values()
        broken.status = 500
        silent.may_answer.clear()
        cut.page = page({("default", "p2"): [50]}).rstrip("\n")
        code, message = told(await simulated.client.metric("default", "gpu_utilization", "app=x"))
        silent.may_answer.set()
    assert code == HTTPStatus.SERVICE_UNAVAILABLE
    how = {
        f"exporter {broken.url} answered HTTP 500",
        f"exporter {silent.url} did not answer within 0.3 s",
        f"exporter {cut.url} cut its page short: the last line has no line feed",
    }
    before, _, after = message.partition(": exporter ")
    assert before == "0 of 3 pods have a measurement"
    assert set(f"exporter {after}".split("; ")) == how


async def test_an_exporter_that_is_gone() -> None:
    """A port where nobody listens is told with its URL, while no EndpointSlice says that it is."""
    async with PageExporter("") as exporter:
        pass
    async with cluster({}, [pod("a", labels=X)], exporters=[exporter.url]) as simulated:
        code, message = told(await simulated.client.metric("default", "gpu_utilization", "app=x"))
    assert code == HTTPStatus.SERVICE_UNAVAILABLE
    assert message.startswith(
        f"0 of 1 pods have a measurement: exporter {exporter.url} could not be reached: "
    )


NOT_NAMED = (
    "the pod has only just started, or its GPU belongs to a sidecar or to a resource that the "
    "exporter is not configured to look for (NVIDIA_RESOURCE_NAMES)"
)
NO_VALUE = "0 of 1 pods have a measurement: the exporters answered but gave no value for pod a"


@pytest.mark.parametrize(
    ("page_name", "metric", "message"),
    [
        (
            "dcgm-2.x",
            "gpu_utilization",
            (
                f"{NO_VALUE}; the page names other pods, but not pod a, and no pod for 4 of the "
                f"GPUs: {NOT_NAMED}"
            ),
        ),
        (
            "dcgm-no-kubernetes",
            "gpu_utilization",
            (
                f"{NO_VALUE}; the page names no pods at all: the exporter needs "
                "DCGM_EXPORTER_KUBERNETES=true and the kubelet's pod-resources socket"
            ),
        ),
        (
            "dcgm-empty",
            "gpu_utilization",
            (
                f"{NO_VALUE}; a page was empty, as is normal until a new exporter's first interval "
                "has passed"
            ),
        ),
    ],
)
async def test_pods_without_a_sample(
    pages: Path, page_name: str, metric: str, message: str
) -> None:
    """The sentence names the pods, and what the page tells of why."""
    text = (pages / f"{page_name}.prom").read_text()
    assert await asked([pod("a", labels=X)], text, metric) == (
        HTTPStatus.SERVICE_UNAVAILABLE,
        message,
    )


async def test_a_value_that_is_not_believed() -> None:
    """What is out of range is missing, never clipped, and the sentence says so."""
    assert await asked([pod("a", labels=X)], page({("default", "a"): [2619]})) == (
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"{NO_VALUE}; values rejected as out of range: 1",
    )


async def test_a_family_that_a_gpu_does_not_have(pages: Path) -> None:
    """An instance of a MIG GPU has no MEM_COPY_UTIL: that is missing, and not 0."""
    text = (pages / "dcgm-mig.prom").read_text()
    async with cluster({"gpu-0": text}, PAGES["dcgm-mig"]) as simulated:
        code, message = told(
            await simulated.client.metric("serving", "gpu_memory_copy_utilization", "app=llm")
        )
    assert code == HTTPStatus.SERVICE_UNAVAILABLE
    assert "gave no value for pod llm-a-5c8d7f6b9-kx2lp" in message


async def test_too_few_pods_are_covered() -> None:
    """Below fallback.minCoverage there is no answer; from there on there is."""
    pods = [pod("a", labels=X), pod("b", labels=X), pod("c", labels=X)]
    assert await asked(pods, page({("default", "a"): [50]})) == (
        HTTPStatus.SERVICE_UNAVAILABLE,
        (
            "1 of 3 pods have a measurement (fallback.minCoverage requires 50%): the exporters "
            "answered but gave no value for pod b, pod c; the page names other pods, but not pod b"
            f": {NOT_NAMED}"
        ),
    )
    text = page({("default", "a"): [50], ("default", "c"): [70]})
    async with cluster({"gpu-0": text}, pods) as simulated:
        item = (await simulated.client.metric("default", "gpu_utilization", "app=x")).item()
    assert (item.value, item.metric_labels["pods"]) == ("60", "2/3")
