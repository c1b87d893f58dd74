"""Advice in errors on near and foreign names and on series' labels: always short, on one line."""

import time
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_server.common.advice import other_resources, series_labels, unknown_metric
from metrics_server.errors import (
    BadRequestError,
    CounterAskedError,
    MeasurementMissingError,
    NotAcceptableError,
    NotFoundError,
    RequestError,
    UnknownMetricError,
)
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.gauges import COUNTERS, GAUGES
from metrics_server.rules.lookup import Rules
from tests.support.exporters import page
from tests.support.harness import cluster
from tests.support.objects import pod

RULES = Rules(CATALOGUE, GAUGES, COUNTERS)
ANY_TEXT = st.text(max_size=2000) | st.text("abc_|\n\x1b\u202e", max_size=2000)
LIMIT = 700


def refusal(name: str) -> str:
    """The error for an unknown metric."""
    with pytest.raises(RequestError) as raised:
        RULES.find(name)
    return str(raised.value)


def assert_fit(message: str) -> None:
    """Check that the message is short enough for an HPA's event, and safe for a terminal."""
    assert len(message) < LIMIT
    assert message.isprintable()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("gpu_utilisation", "gpu_utilization"),
        ("gpu-utilization", "gpu_utilization"),
        ("gpu_utilization_avg", "gpu_utilization"),
        ("gpu_util", "gpu_utilization"),
        ("DCGM_FI_DEV_GPU_UTIL_AVG", "DCGM_FI_DEV_GPU_UTIL"),
        ("dcgm_fi_dev_gpu_utilization", "DCGM_FI_DEV_GPU_UTIL"),
        ("gpu_mem_used", "gpu_memory_used"),
    ],
)
def test_near_names_come_first(name: str, near: str) -> None:
    """A misspelled name is answered with the intended name, before the list of all names."""
    message = refusal(name)
    assert message.startswith(f'there is no metric "{name}"; the nearest names are ')
    nearest = message.split("are ", 1)[1].split(".", 1)[0].split(", ")
    assert near in nearest
    assert len(nearest) <= 3
    assert "the exporters' gauges under their own names" in message
    assert_fit(message)


def test_a_name_like_none_is_answered_by_those_there_are() -> None:
    """Every mean is listed, with the naming of its sum and maximum."""
    message = refusal("zzz")
    for rule in CATALOGUE:
        assert (f"{rule.name}," in message or f"{rule.name};" in message) == (
            rule.over_pods == "avg"
        )
    assert "NAME_sum (for AverageValue) and NAME_max" in message
    assert "gauges" not in unknown_metric("zzz", tuple(RULES.names()), ())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("s0-prometheus", ("KEDA names triggers", "uses gpu_utilization")),
        ("s1-prometheus-DCGM_FI_DEV_GPU_UTIL", ("KEDA names", "need KEDA's APIService")),
        (
            "kubernetes.io|container|accelerator|duty_cycle",
            ("Here it is gpu_utilization with type: Value", "gpu_utilization_sum with"),
        ),
        (
            "kubernetes.io|container|accelerator|memory_used",
            ("Here it is gpu_memory_used with", "gpu_memory_used_sum"),
        ),
        (
            "prometheus.googleapis.com|dcgm_fi_dev_gpu_util|unknown",
            ("Here it is DCGM_FI_DEV_GPU_UTIL with", "DCGM_FI_DEV_GPU_UTIL_sum"),
        ),
        ("custom.googleapis.com|what|ever", ("Here it is gpu_utilization with",)),
        ("datadogmetric@default:gpu-util", ("Datadog names DatadogMetrics",)),
    ],
)
def test_a_name_of_another_server_is_recognized(name: str, says: tuple[str, ...]) -> None:
    """The message names the other server's convention, and the name to use here."""
    message = refusal(name)
    assert message.startswith(f'there is no metric "{name}": ')
    for part in says:
        assert part in message
    assert_fit(message)


@settings(deadline=None)
@given(ANY_TEXT)
def test_any_name_gets_a_message_that_fits(name: str) -> None:
    """Any name gets a message that fits."""
    assert_fit(refusal(f"{name}\x00"))


def test_many_long_names_do_not_take_long() -> None:
    """Finding the nearest name does not hold the event loop for long."""
    names = tuple(f"{'gpu_memory_utilization_of_a_long_name' * 6}_{n}" for n in range(5000))
    start = time.process_time()
    message = unknown_metric("gpu_memory_utilization_of_a_long_nome" * 200, names, ())
    assert time.process_time() - start < 0.5, "it is some ten times less"
    assert_fit(message)


@given(ANY_TEXT)
def test_no_error_says_more_than_an_event_holds(text: str) -> None:
    """The base class of all request errors limits the message."""
    for error in (
        RequestError(text),
        BadRequestError(text),
        UnknownMetricError(text),
        CounterAskedError(text, "gpu_power_usage"),
        NotFoundError(text),
        NotAcceptableError(text, [text]),
        MeasurementMissingError(text, "no-sample"),
    ):
        assert_fit(str(error))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["exported_pod"], '"exported_pod"'),
        (["app", "exported_namespace", "Hostname", "gpu"], '"exported_namespace" and "Hostname"'),
        (["resource.labels.container_name"], '"resource.labels.container_name"'),
        (["metric.labels.model"], '"metric.labels.model"'),
        (["modelName", "modelName"], '"modelName"'),
        (["pod"], '"pod"'),
        (["namespace"], '"namespace"'),
        (["container"], '"container"'),
        (["UUID"], '"UUID"'),
    ],
)
def test_labels_of_series_are_recognized(keys: list[str], expected: str) -> None:
    """At most two keys are named, and the message says which labels to use."""
    advice = series_labels(keys)
    assert advice.startswith(f". {expected}: probably labels of series")
    assert "the labels of pods" in advice


@pytest.mark.parametrize("keys", [[], ["app"], ["app.kubernetes.io/name", "tier", "pods"]])
def test_labels_of_pods_need_no_advice(keys: list[str]) -> None:
    """A selector that simply matches nothing gets no advice."""
    assert series_labels(keys) == ""


@given(st.lists(ANY_TEXT), ANY_TEXT)
def test_advice_on_selectors_and_resources_fits(texts: list[str], text: str) -> None:
    """Advice is short enough to fit after the longest message."""
    keys = [f"exported_{one}" for one in (*texts, text)]
    for advice in (series_labels(keys), other_resources(keys)):
        assert len(advice) < 350
        assert advice.isprintable()


async def test_a_selector_of_series_labels_through_a_server() -> None:
    """This is what `kubectl describe hpa` shows to a user of Prometheus's labels."""
    async with cluster({"gpu-0": page({("default", "a"): [50]})}, [pod("a")]) as simulated:
        answer = await simulated.client.metric(
            "default", "gpu_utilization", "exported_pod=a,Hostname=gpu-0"
        )
        assert answer.status == HTTPStatus.NOT_FOUND
        message = answer.error().message
    assert message.startswith(
        'no pods in namespace "default" match "Hostname=gpu-0,exported_pod=a"'
    )
    assert message.endswith(
        '"Hostname" and "exported_pod": probably labels of series. Here a selector matches the '
        "labels of pods, such as the matchLabels of their Deployment; a key such as "
        "series/modelName matches labels of series"
    )


async def test_a_pod_is_measured_whatever_its_labels_are_called() -> None:
    """The advice appears only for selectors that match no pod."""
    labelled = pod("a", labels={"gpu": "a100", "container": "x"})
    async with cluster({"gpu-0": page({("default", "a"): [50]})}, [labelled]) as simulated:
        answer = await simulated.client.metric("default", "gpu_utilization", "gpu=a100")
        assert answer.item().value == "50"


async def test_what_pods_without_a_gpu_request_is_named() -> None:
    """For another vendor's accelerator, the message names the resource and where to add it."""
    pods = [
        pod("a", resource="habana.ai/gaudi"),
        pod("b", resource="habana.ai/gaudi"),
        pod("c", resource="example.com/dongle"),
        pod("d", gpus=0),
        pod("e", resource="amd.com/nic", labels={"app": "other"}),
    ]
    async with cluster({}, pods) as simulated:
        answer = await simulated.client.metric("default", "gpu_utilization", "app=inference")
        assert answer.status == HTTPStatus.NOT_FOUND
        message = answer.error().message
    assert 'match "app=inference" (4), but none of them requests a GPU' in message
    assert message.endswith(
        ". They request example.com/dongle, habana.ai/gaudi: if an exporter measures it, add it "
        "to pods.gpuResources"
    )
    assert_fit(message)


@pytest.mark.parametrize(
    "resource",
    ["nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb.shared", "amd.com/gpu", "amd.com/cpx_nps4"],
)
async def test_the_vendors_own_names_are_gpus(resource: str) -> None:
    """Time-sliced, partitioned and AMD GPUs need no configuration."""
    text = page({("default", "a"): [50]})
    async with cluster({"gpu-0": text}, [pod("a", resource=resource)]) as simulated:
        assert (await simulated.client.metric("default", "gpu_utilization")).item().value == "50"


def test_fractions_of_gpus_are_explained() -> None:
    """Fractions of GPUs cannot be added to pods.gpuResources."""
    assert "fractional-GPU" in other_resources(["gpu-fraction"])
