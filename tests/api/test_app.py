"""Every path of the API but the metric's own, as Kubernetes asks for it, over real TLS."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import hdrs
from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from metrics_server.api.operations import COMMON, OPERATIONS
from metrics_server.api.types import GROUP, GROUP_VERSION
from metrics_server.rules.catalogue import CATALOGUE
from tests.support.data import RECORDINGS
from tests.support.harness import Client, Cluster, admin, client_of, cluster, page, pod

METRIC = f"/apis/{GROUP_VERSION}/namespaces/default/gpu_utilization"
OPENAPI = f"/openapi/v3/apis/{GROUP_VERSION}"
V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
V2BETA1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
RECORDED = RECORDINGS / "aggregator.jsonl"


class Request(Struct):
    """A request that kube-apiserver sent to a server behind its aggregator, as it was recorded."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]

    @property
    def target(self) -> str:
        """The path and the query."""
        return f"{self.path}?{self.query}" if self.query else self.path


REQUESTS = [msgspec.json.decode(line, type=Request) for line in RECORDED.read_bytes().splitlines()]


@pytest.fixture
async def simulated() -> AsyncIterator[Cluster]:
    """A cluster with one pod, which the recorded selectors match."""
    labels = {"app": "inference", "tier": "gpu"}
    async with cluster(
        {"gpu-0": page({("default", "a"): [84]})}, [pod("a", labels=labels)]
    ) as made:
        yield made


@pytest.fixture
def client(simulated: Cluster) -> Client:
    """What asks the server of that cluster."""
    return simulated.client


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/apis", "APIGroupList"),
        (f"/apis/{GROUP}", "APIGroup"),
        (f"/apis/{GROUP_VERSION}", "APIResourceList"),
        (METRIC, "ExternalMetricValueList"),
        ("/version", None),
        ("/openapi/v2", None),
        ("/openapi/v3", None),
        (OPENAPI, None),
    ],
)
async def test_each_path_with_and_without_its_slash(
    client: Client, path: str, kind: str | None
) -> None:
    """A path means the same with a slash at its end, and is never redirected: that is a 502."""
    bare, slashed = await client.ask(path), await client.ask(f"{path}/")
    assert bare.body == slashed.body
    for answer in (bare, slashed):
        assert answer.status == 200
        assert answer.headers[hdrs.CONTENT_TYPE] == "application/json"
        assert answer.json().get("kind") == kind


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_health(client: Client, path: str, slash: str) -> None:
    """A server that is well says so in one word of plain text."""
    answer = await client.ask(path + slash)
    assert (answer.status, answer.text) == (200, "ok")
    assert answer.headers[hdrs.CONTENT_TYPE] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("slash", ["", "/"])
async def test_all_that_openapi_names_is_served(client: Client, slash: str) -> None:
    """No path of the OpenAPI documents is a promise that is not kept, in none of its forms."""
    for operation in (*COMMON, *(one for group in OPERATIONS.values() for one in group)):
        path = operation.path.format(
            namespace="default", metric="gpu_utilization", resource="pods", name="*"
        ).rstrip("/")
        for media_type in operation.answers:
            answer = await client.ask(path + slash, {hdrs.ACCEPT: media_type})
            assert (answer.status, answer.headers[hdrs.CONTENT_TYPE]) == (200, media_type), path
            assert answer.body


async def test_the_index_of_openapi_leads_to_the_document(client: Client) -> None:
    """The URL in /openapi/v3, hash included, is where the document is."""
    index = msgspec.json.decode(
        (await client.ask("/openapi/v3")).body, type=dict[str, dict[str, dict[str, str]]]
    )
    url = index["paths"][f"apis/{GROUP_VERSION}"]["serverRelativeURL"]
    document = (await client.ask(url)).json()
    assert document["openapi"] == "3.0.0"


@pytest.mark.parametrize(
    ("accept", "content_type", "api_version"),
    [
        # kube-apiserver's aggregator, then one that knows v2beta1 only, then one that knows none.
        (f"{V2},{V2BETA1}", V2, "apidiscovery.k8s.io/v2"),
        (V2BETA1, V2BETA1, "apidiscovery.k8s.io/v2beta1"),
        (f"{V2BETA1},application/json", V2BETA1, "apidiscovery.k8s.io/v2beta1"),
        ("application/json", "application/json", "v1"),
        (f"application/json;q=0.9,{V2};q=0.1", "application/json", "v1"),
        ("*/*", "application/json", "v1"),
        ("", "application/json", "v1"),
    ],
)
async def test_discovery_is_negotiated(
    client: Client, accept: str, content_type: str, api_version: str
) -> None:
    """/apis is aggregated discovery for who asks for it, and a list of groups for all others."""
    answer = await client.ask("/apis", {hdrs.ACCEPT: accept} if accept else {})
    assert answer.status == 200
    assert answer.headers[hdrs.CONTENT_TYPE] == content_type
    assert answer.headers[hdrs.VARY] == hdrs.ACCEPT
    assert answer.json()["apiVersion"] == api_version


async def test_discovery_lists_every_metric(client: Client) -> None:
    """What is listed is what can be asked for; the list is never empty."""
    listed = (await client.ask(f"/apis/{GROUP_VERSION}")).json()["resources"]
    resources = msgspec.convert(listed, list[dict[str, object]])
    assert [r["name"] for r in resources] == sorted(rule.name for rule in CATALOGUE)
    # With any other verb, controllers would start to call for each namespace.
    assert {str(r["verbs"]) for r in resources} == {"['get']"}


@pytest.mark.parametrize("accept", [V2, V2BETA1, "application/json"])
async def test_a_document_that_is_known_is_not_sent_again(client: Client, accept: str) -> None:
    """Each form has an entity tag of its own; a client that names it gets 304 and no body."""
    tag = (await client.ask("/apis", {hdrs.ACCEPT: accept})).headers[hdrs.ETAG]
    assert tag.startswith('"')
    for given in (tag, f"W/{tag}", f'"other", {tag}', f'"other",W/{tag} , "another"', "*"):
        answer = await client.ask("/apis", {hdrs.ACCEPT: accept, hdrs.IF_NONE_MATCH: given})
        assert (answer.status, answer.body) == (304, b""), given
        assert answer.headers[hdrs.ETAG] == tag
        assert answer.headers[hdrs.VARY] == hdrs.ACCEPT


async def test_a_document_that_is_not_known_is_sent(client: Client) -> None:
    """The tag of another form, a part of the tag, or what is no tag, gets the document."""
    plain = await client.ask("/apis")
    tag = plain.headers[hdrs.ETAG]
    other = (await client.ask("/apis", {hdrs.ACCEPT: V2})).headers[hdrs.ETAG]
    for given in (other, f'{tag[:-2]}"', tag.strip('"'), '"', "", 'x"'):
        answer = await client.ask("/apis", {hdrs.IF_NONE_MATCH: given})
        assert (answer.status, answer.body) == (200, plain.body), given


@pytest.mark.parametrize(
    "accept",
    [
        "application/vnd.kubernetes.protobuf",
        "text/html",
        "application/json;q=0",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=APIGroupDiscoveryList;v=v3;g=apidiscovery.k8s.io",
    ],
)
async def test_no_acceptable_form(client: Client, accept: str) -> None:
    """Where no form is accepted that there is, the answer is 406 and names those that there are."""
    answer = await client.ask("/apis", {hdrs.ACCEPT: accept})
    status = answer.error()
    assert (status.code, status.reason) == (406, "NotAcceptable")
    assert V2 in status.message


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/v1",
        "//apis",
        "/apis//",
        "/APIs",
        "/apis/apps/v1",
        f"/apis/{GROUP}/v1beta2",
        f"/apis/{GROUP_VERSION}/gpu_utilization/x",
        f"/apis/{GROUP_VERSION}/namespaces",
        f"/apis/{GROUP_VERSION}/namespaces/default",
        f"{METRIC}/x",
        f"{METRIC}//",
        "/openapi/v3/apis/apps/v1",
        "/metrics/x",
        "/favicon.ico",
        "/apis%2F",
        "/apis/%FF",
        "/%00",
        "/../apis",
    ],
)
async def test_a_path_that_is_none(client: Client, path: str) -> None:
    """Nothing there is 404 with a Status that names the path; no client is led elsewhere."""
    status = (await client.ask(path)).error()
    assert (status.code, status.reason) == (404, "NotFound")
    assert "GET /apis lists what is" in status.message


@pytest.mark.parametrize("metric", ["gpu_utilization", "no_such_metric", "a%0Ab"])
@pytest.mark.parametrize(
    "path",
    [
        "{metric}",
        "{metric}/",
        "namespaces//{metric}",
        "namespaces/*/{metric}",
        "namespaces/%2A/{metric}",
    ],
)
async def test_all_namespaces_at_once(client: Client, path: str, metric: str) -> None:
    """What `kubectl get -A` asks for, and an HPA never, is 400: a request names one namespace."""
    asked = f"/apis/{GROUP_VERSION}/{path.format(metric=metric)}"
    status = (await client.ask(f"{asked}?labelSelector=app%3Dinference")).error()
    assert (status.code, status.reason) == (400, "BadRequest")
    assert status.message.startswith("a namespace is required: ")
    assert "kubectl get -n NAMESPACE instead of -A" in status.message
    shown = metric.replace("%0A", "\\n")
    assert f"/apis/{GROUP_VERSION}/namespaces/NAMESPACE/{shown}, " in status.message


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/apis", f"/apis/{GROUP_VERSION}/", METRIC, "/healthz"])
async def test_only_get_is_allowed(client: Client, method: str, path: str) -> None:
    """Nothing can be written; the answer says what is allowed instead."""
    answer = await client.ask(path, method=method)
    status = answer.error()
    assert (status.code, status.reason) == (405, "MethodNotAllowed")
    assert status.message == f"{method} is not allowed: only GET is"
    assert answer.headers[hdrs.ALLOW] == "GET"


async def test_head_is_not_allowed(client: Client) -> None:
    """An answer to HEAD has no body, whatever its status."""
    answer = await client.ask("/apis", method="HEAD")
    assert (answer.status, answer.body) == (405, b"")


async def test_the_version(client: Client) -> None:
    """/version has each field of Kubernetes' version.Info."""
    version = (await client.ask("/version?timeout=5s")).json()
    assert set(version) == {
        "major",
        "minor",
        "gitVersion",
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
        "platform",
    }


async def test_verbose_health_lists_the_checks(client: Client) -> None:
    """?verbose names each check; readiness has those of liveness, too."""
    live = (await client.ask("/livez?verbose")).text.splitlines()
    ready = (await client.ask("/readyz?verbose=true")).text.splitlines()
    assert live[0] == "[+]ping ok"
    assert {"[+]watch-pods ok", "[+]watch-endpointslices ok"} < set(live)
    assert live[-1] == "livez check passed"
    assert set(live[:-1]) < set(ready)
    synced = {"[+]pods-synced ok", "[+]endpointslices-synced ok", "[+]trust-synced ok"}
    assert {*synced, "[+]certificate ok", "[+]shutdown ok"} < set(ready)
    assert ready[-1] == "readyz check passed"


async def test_a_check_can_be_asked_for_alone_or_left_out(
    client: Client, simulated: Cluster
) -> None:
    """A check that fails does so on its own path, and does not if it is excluded."""
    simulated.server.stopping.set()
    assert (await client.ask("/livez")).status == 200
    assert (await client.ask("/readyz/pods-synced")).text == "ok"
    failing = await client.ask("/readyz/shutdown/")
    assert failing.status == 500
    assert failing.text.startswith("internal server error: ")
    whole = await client.ask("/readyz")
    assert whole.status == 500
    assert "[-]shutdown failed: " in whole.text
    assert "[+]pods-synced ok\n" in whole.text
    assert (await client.ask("/readyz?exclude=shutdown")).text == "ok"
    unknown = await client.ask("/readyz?exclude=shutdown&exclude=%FF&verbose")
    assert unknown.status == 200
    assert "[+]shutdown excluded: ok\n" in unknown.text
    assert "cannot be excluded" in unknown.text


async def test_a_check_that_is_none(client: Client) -> None:
    """The answer names those that there are."""
    answer = await client.ask("/livez/etcd")
    assert answer.status == 404
    assert "it has: ping, watch-" in answer.text


@pytest.mark.parametrize("slash", ["", "/"])
async def test_own_metrics_are_prometheus_text(client: Client, slash: str) -> None:
    """/metrics parses, and tells of a question that was answered and of the scrape it took."""
    await client.ask(METRIC)
    answer = await client.ask(f"/metrics{slash}")
    assert answer.status == 200
    assert answer.headers[hdrs.CONTENT_TYPE] == "text/plain; version=0.0.4; charset=utf-8"
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert all(name[0].startswith("gpu_metrics_server_") for name in samples)
    name = "gpu_metrics_server_request_duration_seconds_count"
    assert samples[name, "200", "external", "gpu_utilization"] == 1
    assert samples["gpu_metrics_server_scrape_duration_seconds_count", "ok"] == 1


@pytest.mark.parametrize(
    "request_", REQUESTS, ids=[f"{n}-{request.path}" for n, request in enumerate(REQUESTS)]
)
async def test_what_kubernetes_was_seen_to_ask(simulated: Cluster, request_: Request) -> None:
    """Each recorded request gets what its sender can use, and the aggregator hands on."""
    trust, by_proxy = simulated.trust, "X-Remote-User" in dict(request_.headers)
    pair = trust.front_proxy() if by_proxy else admin(trust)
    async with client_of(simulated.server, pair) as sender:
        answer = await sender.ask(request_.target, request_.headers, request_.method)
    if request_.path.endswith("/nope/x") or request_.query == "labelSelector=app%3Dx":
        # There is no such path, and no such pod.
        assert answer.error().code == 404
        return
    assert answer.status == 200
    assert answer.body
    accept = dict(request_.headers).get(hdrs.ACCEPT, "")
    wanted = {
        V2: V2,
        "application/json;as=Table;v=v1;g=meta.k8s.io": (
            "application/json;g=meta.k8s.io;v=v1;as=Table"
        ),
    }
    health = "text/plain; charset=utf-8" if request_.path == "/healthz" else "application/json"
    assert answer.headers[hdrs.CONTENT_TYPE] == wanted.get(accept.partition(",")[0], health)
    if "labelSelector" in request_.query:
        assert answer.item().value == "84"


async def test_an_unexpected_exception_is_a_500(
    simulated: Cluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller learns nothing of it; the log does, and the server goes on."""

    def fail(*_: object) -> None:
        raise RuntimeError("a secret of the server")

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr("metrics_server.measuring.provider.select", fail)
        status = (await client.ask(METRIC)).error()

    assert (status.code, status.reason) == (500, "InternalError")
    assert status.message == "internal error of gpu-metrics-server: see its log"
    (line,) = [one for one in logs if one["event"] == "internal error"]
    assert line["log_level"] == "error"
    assert (await client.ask(METRIC)).status == 200
    metrics = (await client.ask("/metrics")).text
    assert (
        'request_duration_seconds_count{api="external",code="500",metric="gpu_utilization"} 1.0'
        in metrics
    )
    assert simulated.exporters["gpu-0"].scrapes == 1


async def test_a_shared_gpu_is_marked_on_the_wire() -> None:
    """Pods that were not selected use it too, so their work is in the value."""
    row = 'DCGM_FI_DEV_GPU_UTIL{{gpu="0",UUID="GPU-0",namespace="default",pod="{}"}} 84\n'
    shared = "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n" + row.format("a") + row.format("other")
    pods = [pod("a"), pod("other", labels={"app": "other"})]
    async with cluster({"gpu-0": shared}, pods) as made:
        answer = await made.client.metric("default", "gpu_utilization", "app=inference")
    assert answer.item().metric_labels["shared"] == "true"
