import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.kube.autoscalers import Autoscaler, AutoscalerMetric, autoscaler_decoder
from metrics_server.kube.labels import parse_selector
from metrics_server.simulator.kube.objects import Json, Object
from tests.kube.conftest import Recording

decode = autoscaler_decoder(lambda _: True)

METRICS: list[Json] = [
    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}},
    {
        "type": "External",
        "external": {
            "metric": {
                "name": "gpu_utilization",
                "selector": {
                    "matchLabels": {"app": "web"},
                    "matchExpressions": [
                        {"key": "tier", "operator": "In", "values": ["b", "a"]},
                        {"key": "tier", "operator": "NotIn", "values": ["c"]},
                        {"key": "x", "operator": "Exists"},
                        {"key": "y", "operator": "DoesNotExist"},
                    ],
                },
            },
            "target": {"type": "Value", "value": "70"},
        },
    },
    {
        "type": "Pods",
        "pods": {
            "metric": {"name": "gpu_utilization"},
            "target": {"type": "AverageValue", "averageValue": "500m"},
        },
    },
    {
        "type": "Object",
        "object": {
            "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "web"},
            "metric": {"name": "queue"},
            "target": {"type": "Value", "value": 10},
        },
    },
]


def manifest(**spec: Json) -> Object:
    """An HPA."""
    return {
        "metadata": {"name": "web", "namespace": "team", "uid": "u-1"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "maxReplicas": 10,
            "metrics": METRICS,
            **spec,
        },
        "status": {
            "currentReplicas": 3,
            "currentMetrics": [
                {"type": ""},
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": "gpu_utilization"},
                        "current": {"averageValue": "1"},
                    },
                },
            ],
        },
    }


def decoded(obj: object) -> Autoscaler:
    """An object, decoded as in a list and as in an event."""
    text = json.dumps(obj).encode()
    (raw,) = msgspec.json.decode(b"[" + text + b"]", type=list[msgspec.Raw])
    assert decode(raw) == decode(text)
    return decode(text)


def test_an_hpa_is_read() -> None:
    """An HPA has its target, its limits, and its External, Pods and Object metrics."""
    found = decoded(manifest(minReplicas=0))
    selector = parse_selector("app=web,tier in (a,b),tier notin (c),x,!y")
    assert found == Autoscaler(
        namespace="team",
        name="web",
        uid="u-1",
        target="Deployment/web",
        min_replicas=0,
        max_replicas=10,
        current_replicas=3,
        metrics=(
            AutoscalerMetric("External", "gpu_utilization", selector, "Value", value="70"),
            AutoscalerMetric(
                "Pods",
                "gpu_utilization",
                parse_selector(""),
                "AverageValue",
                average_value="500m",
                read=True,
            ),
            AutoscalerMetric(
                "Object",
                "queue",
                parse_selector(""),
                "Value",
                value="10",
                described="Service/web",
            ),
        ),
        bytes=found.bytes,
    )
    assert decoded(manifest()).min_replicas == 1


def test_a_recorded_hpa_is_read(recording: Recording) -> None:
    """An HPA from a real API server, with status and managed fields, is read."""
    found = decoded(msgspec.to_builtins(recording("hpa-inference"))["response"]["body"])
    selector = parse_selector("app=inference,!canary,tier in (accel,gpu),x notin (a,b)")
    assert (found.namespace, found.target) == ("default", "Deployment/inference")
    assert (found.min_replicas, found.max_replicas, found.current_replicas) == (1, 6, 6)
    assert found.metrics == (
        AutoscalerMetric("External", "gpu_utilization", selector, "Value", value="75", read=True),
    )


def test_only_the_metrics_that_are_wanted_are_kept() -> None:
    """A cluster's HPAs have many others."""
    wanted = autoscaler_decoder(lambda name: name == "queue")
    found = wanted(json.dumps(manifest()).encode())
    assert [metric.name for metric in found.metrics] == ["queue"]


IDENTITY = Autoscaler("team", "web", "u-1")


@pytest.mark.parametrize(
    "spec",
    [
        {"metrics": {}},
        {"metrics": [{"type": "External", "external": {"metric": "gpu"}}]},
        {"maxReplicas": "many"},
        {"scaleTargetRef": None},
        # Too many: more than the API server would let a caller request.
        {"metrics": [METRICS[1]] * 200},
    ],
)
def test_an_odd_hpa_has_no_metrics(spec: Object) -> None:
    """An invalid HPA is known, so that the watch continues, but not checked."""
    assert decoded(manifest(**spec)) == IDENTITY


@pytest.mark.parametrize(
    "selector",
    [
        {"matchExpressions": [{"key": "a", "operator": "Near", "values": ["b"]}]},
        {"matchLabels": {f"k{n}": "v" for n in range(65)}},
    ],
)
def test_an_odd_selector_is_not_checked(selector: Json) -> None:
    """The pods that such a selector matches are unknown."""
    source: Object = {"metric": {"name": "gpu_utilization", "selector": selector}, "target": {}}
    assert decoded(manifest(metrics=[{"type": "External", "external": source}])) == IDENTITY


def test_a_type_without_its_source_is_left_out() -> None:
    """The others are still checked."""
    found = decoded(manifest(metrics=[{"type": "External"}, {"type": "New"}, METRICS[2]]))
    assert [metric.type for metric in found.metrics] == ["Pods"]


def test_the_memory_of_an_hpa_is_bounded() -> None:
    """Both the number of metrics and the bytes are limited."""
    small: Json = {"type": "Pods", "pods": {"metric": {"name": "gpu"}, "target": {}}}
    found = decoded(manifest(metrics=[small] * 100))
    assert len(found.metrics) == 16
    plain = decoded(manifest(metrics=[small]))
    long = decoded(manifest(metrics=[METRICS[1]]))
    assert 600 < plain.bytes < long.bytes < 4000


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"metadata": {"name": "a"}}', '"', "\udcff"])
def test_what_has_no_name_is_rejected(text: str) -> None:
    """An object without a name is an error."""
    with pytest.raises((msgspec.DecodeError, ValueError)):
        decode(text.encode(errors="surrogateescape"))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["External", "Pods", "Object", "In", "Value", "gpu_utilization"])
)
KEYS = st.sampled_from(
    [
        *("metrics", "type", "external", "pods", "object", "metric", "name", "selector", "key"),
        *("matchLabels", "matchExpressions", "operator", "values", "target", "value", "kind"),
        *("averageValue", "describedObject", "scaleTargetRef", "maxReplicas", "currentMetrics"),
    ]
)
ODD = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=30,
)


META: Object = {"name": "web", "namespace": "team", "uid": "u-1", "resourceVersion": "1"}


@pytest.mark.slow
@given(spec=ODD, status=ODD)
def test_no_object_breaks_a_watch(spec: object, status: object) -> None:
    """Any object with a name is decoded, whatever it contains."""
    found = decoded({"metadata": META, "spec": spec, "status": status})
    assert (found.namespace, found.name, found.uid) == ("team", "web", "u-1")


@given(metric=st.dictionaries(KEYS, ODD, max_size=2), source=st.dictionaries(KEYS, ODD, max_size=2))
def test_no_metric_breaks_a_watch(metric: dict[str, object], source: dict[str, object]) -> None:
    """The same applies to faults deep inside an HPA."""
    one = {"type": "External", "external": {"metric": {"name": "gpu"}, **source}, **metric}
    found = decoded({**manifest(), "spec": {**SPEC, "metrics": [METRICS[2], one]}})
    assert found.name == "web"


SPEC: Object = {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 10}
