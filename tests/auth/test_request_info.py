"""The verbs, resources and paths of requests, in any spelling."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.auth.request_info import Attributes, attributes_of
from metrics_server.errors import BadRequestError

GROUP = "external.metrics.k8s.io"
PREFIX = f"/apis/{GROUP}/v1beta1/namespaces"
METRIC = f"{PREFIX}/default/gpu_utilization"


def metric(verb: str = "list", namespace: str = "default", name: str = "gpu_utilization") -> object:
    """The attributes of a request for a metric."""
    return Attributes(verb, namespace, GROUP, "v1beta1", name)


@pytest.mark.parametrize(
    ("method", "verb"),
    [
        ("GET", "list"),
        ("HEAD", "list"),
        ("POST", "create"),
        ("PUT", "update"),
        ("PATCH", "patch"),
        ("DELETE", "deletecollection"),
        ("OPTIONS", "options"),
    ],
)
def test_verbs_of_a_metric(method: str, verb: str) -> None:
    """The verbs are those of RBAC for a request without a name: a GET is a list."""
    assert attributes_of(method, METRIC, "") == metric(verb)


@pytest.mark.parametrize(
    ("query", "verb"),
    [
        ("watch=true", "watch"),
        ("watch=1", "watch"),
        ("watch", "watch"),
        ("watch=", "watch"),
        ("w%61tch=true", "watch"),
        ("labelSelector=app%3Da&watch=true", "watch"),
        ("watch=true&watch=false", "watch"),
        ("watch=false", "list"),
        ("watch=False", "list"),
        ("watch=%30", "list"),
        ("watch=false&watch=true", "list"),
        ("watched=true", "list"),
        ("Watch=true", "list"),
        ("labelSelector=watch%3Dtrue", "list"),
        ("labelSelector=app%3Da%26watch%3Dtrue", "list"),
    ],
)
def test_watches_are_distinguished_from_lists(query: str, verb: str) -> None:
    """The first `watch` counts, as in Go, and is true unless it is false or 0."""
    assert attributes_of("GET", METRIC, query).verb == verb
    assert attributes_of("POST", METRIC, query) == metric("create")


@pytest.mark.parametrize(
    "path",
    [
        f"{METRIC}/",
        f"{METRIC}//",
        f"{PREFIX}/default/GPU_Utilization",
        f"{PREFIX}/default/gpu%5Futilization",
        f"{PREFIX}/d%65fault/gpu_utilization",
        f"{PREFIX}/default/g%50u_utilization",
    ],
)
def test_spellings_of_a_metric_are_one(path: str) -> None:
    """Spellings that are served alike are authorized alike."""
    assert attributes_of("GET", path, "") == metric()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/healthz",
        "/readyz/pods-synced",
        "/metrics",
        "/version",
        "/openapi/v2",
        f"/openapi/v3/apis/{GROUP}/v1beta1",
        "/apis",
        f"/apis/{GROUP}",
        f"/apis/{GROUP}/v1beta1",
        PREFIX,
        f"{PREFIX}/default",
        f"/apis/{GROUP}/v1beta1/nodes/default/gpu_utilization",
        # None of these is served, and none is what it looks like.
        f"/{METRIC}",
        f"{PREFIX}//gpu_utilization",
        f"{PREFIX}/default//gpu_utilization",
        f"{PREFIX}/default/pods//gpu_utilization",
        f"{PREFIX}/default/pods/web-1//gpu_utilization",
        "/apis//v1beta1/namespaces/default/gpu_utilization",
        f"/apis/{GROUP}/v1beta1/Namespaces/default/gpu_utilization",
        f"/apis/{GROUP}/v1beta1/namespace%73/default/gpu_utilization",
        f"/a/..{METRIC}",
        f"{PREFIX}/default%2Fgpu_utilization",
        "//healthz",
        "/healthz/..",
        "/healthz/../metrics",
        "/healthz/%2E%2E/metrics",
        "/healthz%2F",
        "/HEALTHZ",
        "/health%7A",
        "/./healthz",
        "*",
    ],
)
def test_all_else_is_a_path(path: str) -> None:
    """Other paths are authorized as they were sent: no other spelling is served."""
    assert attributes_of("GET", path, "") == Attributes("get", path=path)
    assert attributes_of("POST", path, "watch=true") == Attributes("post", path=path)


CUSTOM = "custom.metrics.k8s.io"
CUSTOM_PREFIX = f"/apis/{CUSTOM}/v1beta2/namespaces"


@pytest.mark.parametrize(
    ("below", "resource", "name", "subresource"),
    [
        ("pods/*/gpu_utilization", "pods", "*", "gpu_utilization"),
        ("pods/%2A/gpu_utilization", "pods", "*", "gpu_utilization"),
        ("pods/web-1/DCGM_FI_DEV_GPU_UTIL", "pods", "web-1", "DCGM_FI_DEV_GPU_UTIL"),
        ("deployments.apps/web/gpu_utilization/", "deployments.apps", "web", "gpu_utilization"),
        ("metrics/gpu_utilization", "metrics", "gpu_utilization", ""),
        ("pods/web-1/gpu_utilization/more", "pods", "web-1", "gpu_utilization"),
    ],
)
def test_custom_metrics(below: str, resource: str, name: str, subresource: str) -> None:
    """A path with a name is a get, with the metric as the subresource, as sent (RequestInfo)."""
    asked = Attributes(
        "get", "default", CUSTOM, "v1beta2", resource, name=name, subresource=subresource
    )
    path = f"{CUSTOM_PREFIX}/default/{below}"
    for query in ("", "watch=true", "labelSelector=app%3Dweb&metricLabelSelector=a%3Db"):
        assert attributes_of("GET", path, query) == asked
        assert attributes_of("HEAD", path, query) == asked


@pytest.mark.parametrize(
    ("method", "verb"),
    [("POST", "create"), ("PUT", "update"), ("PATCH", "patch"), ("DELETE", "delete")],
)
def test_verbs_of_a_name(method: str, verb: str) -> None:
    """A DELETE with a name is not a deletecollection."""
    path = f"{CUSTOM_PREFIX}/default/pods/web-1/gpu_utilization"
    assert attributes_of(method, path, "").verb == verb


@pytest.mark.parametrize(
    ("spelled", "path"),
    [
        ("/healthz/", "/healthz"),
        ("/healthz//", "/healthz"),
        ("/apis/", "/apis"),
        ("//", "/"),
        ("", "/"),
        (f"{PREFIX}/default/", f"{PREFIX}/default"),
        (f"{PREFIX}//", PREFIX),
    ],
)
def test_a_slash_at_the_end_makes_no_difference(spelled: str, path: str) -> None:
    """A path is the same with a slash at the end."""
    assert attributes_of("GET", spelled, "") == Attributes("get", path=path)


@pytest.mark.parametrize(
    "path",
    [f"{PREFIX}/default/%FF", f"{PREFIX}/%C3%28/gpu_utilization", "/caf\u00e9", "/\udcff"],
)
def test_a_path_that_is_not_utf8_is_rejected(path: str) -> None:
    """Bytes that a review cannot contain are rejected without a review."""
    with pytest.raises(BadRequestError, match="UTF-8"):
        attributes_of("GET", path, "")


# A lone surrogate cannot be encoded as UTF-8.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)


@given(namespace=texts, name=texts)
def test_any_name_can_be_asked_for(namespace: str, name: str) -> None:
    """Names are decoded once, and encoded characters never split a path."""
    path = f"{PREFIX}/{quote(namespace, safe='')}/{quote(name, safe='')}"
    assert attributes_of("GET", path, "") == metric("list", namespace, name.lower())


@given(path=st.text(st.sampled_from("/%2Ffaé.~*?"), max_size=20), method=st.sampled_from(["GET"]))
def test_it_is_a_metric_or_a_path(path: str, method: str) -> None:
    """Every request has a resource or a path, never both, or is rejected."""
    for spelled in (f"/{path}", f"{PREFIX}/{path}"):
        try:
            told = attributes_of(method, spelled, "")
        except BadRequestError:
            continue
        assert bool(told.resource) != bool(told.path)
        assert bool(told.resource) == bool(told.namespace) == bool(told.group)
