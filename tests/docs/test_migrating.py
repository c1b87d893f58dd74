"""The migration guide: each old form is rejected or wrong, and each new one scales right."""

import re
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from math import ceil
from pathlib import Path
from urllib.parse import urlencode

import pytest
import yaml
from msgspec import Struct, convert

from metrics_server.api.types import MetricValueList, milli_value
from metrics_server.simulator.kube.objects import SERVICES
from metrics_server.simulator.kube.objects import Object as JsonObject
from tests.deployments.manifests import ROOT
from tests.support.clients import Answer, Client
from tests.support.exporters import page
from tests.support.harness import Cluster, cluster
from tests.support.objects import pod

GUIDE = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")

# Four busy pods: at a target of 70 % the HPA must ask for ceil(4 * 90 / 70) = 6, and at 60k MiB
# for ceil(4 * 70k / 60k) = 5.
READY = 4
PODS = tuple(f"p{n}" for n in range(READY))
PAGE = page({("default", name): [90] for name in PODS}) + page(
    {("default", name): [70_000] for name in PODS}, "DCGM_FI_DEV_FB_USED"
)


class Target(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """An autoscaling/v2 MetricTarget."""

    type: str
    value: str | None = None
    average_value: str | None = None


class Selector(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A meta/v1 LabelSelector."""

    match_labels: dict[str, str]


class Metric(Struct, frozen=True, forbid_unknown_fields=True):
    """An autoscaling/v2 MetricIdentifier."""

    name: str
    selector: Selector | None = None


class External(Struct, frozen=True, forbid_unknown_fields=True):
    """An autoscaling/v2 ExternalMetricSource."""

    metric: Metric
    target: Target


class Pods(Struct, frozen=True, forbid_unknown_fields=True):
    """An autoscaling/v2 PodsMetricSource."""

    metric: Metric
    target: Target


class Described(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """An autoscaling/v2 CrossVersionObjectReference."""

    api_version: str
    kind: str
    name: str


class Object(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """An autoscaling/v2 ObjectMetricSource."""

    described_object: Described
    metric: Metric
    target: Target


class Spec(Struct, frozen=True, forbid_unknown_fields=True):
    """An autoscaling/v2 MetricSpec."""

    type: str
    external: External | None = None
    pods: Pods | None = None
    object: Object | None = None

    @property
    def source(self) -> External | Pods | Object:
        """The source that its type names."""
        sources = {"External": self.external, "Pods": self.pods, "Object": self.object}
        source = sources[self.type]
        assert source is not None
        return source


class Form(Struct, frozen=True):
    """A form in the guide.

    Attributes:
        title: its heading.
        before: as YAML.
        after: its replacement.
    """

    title: str
    before: str
    after: Spec


SERVICE: JsonObject = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "inference", "namespace": "default"},
    "spec": {"selector": {"app": "inference"}},
}


def _side(diff: str, sign: str) -> str:
    return "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in (" ", sign))


def forms() -> list[Form]:
    """Every form in the guide."""
    sections = re.findall(r"^### (\d+\. .+?)\n(.*?)(?=^#|\Z)", GUIDE, re.MULTILINE | re.DOTALL)
    return [
        Form(title, _side(diff, "-"), convert(yaml.safe_load(_side(diff, "+"))[0], Spec))
        for title, section in sections
        for diff in re.findall(r"```diff\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    ]


FORMS = forms()
by_title = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.title)
SELECTOR = "app=inference"


def replicas(answer: str, target: Target) -> int:
    """The HPA's result, by the target's field, as Kubernetes computes it."""
    if target.average_value is not None:
        return ceil(milli_value(answer) / milli_value(target.average_value))
    assert target.value is not None
    return ceil(READY * milli_value(answer) / milli_value(target.value))


async def ask(client: Client, metric: External | Pods | Object) -> Answer:
    """The answer to the HPA controller's request for a metric."""
    name = metric.metric.name
    labels = metric.metric.selector.match_labels if metric.metric.selector else {}
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    if isinstance(metric, External):
        # client-go lowercases the name.
        return await client.metric("default", name.lower(), selector)
    if isinstance(metric, Pods):
        path = f"pods/%2A/{name}?{urlencode({'labelSelector': SELECTOR})}"
    else:
        described = metric.described_object
        path = f"{described.kind.lower()}s/{described.name}/{name}"
    return await client.ask(f"/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/{path}")


def scaled(answer: Answer, metric: External | Pods | Object) -> int:
    """The replicas that result from an answer."""
    if isinstance(metric, External):
        return replicas(answer.item().value, metric.target)
    values = [one.value for one in convert(answer.json(), MetricValueList).items]
    if isinstance(metric, Object):
        (value,) = values
        return replicas(value, metric.target)
    assert len(values) == READY
    assert metric.target.average_value is not None
    mean = sum(map(milli_value, values)) / len(values)
    return ceil(READY * mean / milli_value(metric.target.average_value))


def migrated() -> AbstractAsyncContextManager[Cluster]:
    """A cluster with the four busy pods behind a Service."""
    pods = [pod(name, labels={"app": "inference"}) for name in PODS]
    return cluster({"gpu-0": PAGE}, pods)


def test_ten_forms_are_shown() -> None:
    """They are numbered, and the old form is valid YAML too."""
    numbers = [form.title.split(".")[0] for form in FORMS]
    assert list(dict.fromkeys(numbers)) == [str(n + 1) for n in range(10)]
    for form in FORMS:
        assert yaml.safe_load(form.before)


@by_title
async def test_the_form_after_scales_rightly(form: Form) -> None:
    """Requested through a whole server, it gives the replicas that the load needs."""
    metric = form.after.source
    async with migrated() as simulated:
        simulated.api.apply(SERVICES, SERVICE)
        answer = await ask(simulated.client, metric)
    assert (metric.target.type, metric.target.average_value is not None) in (
        ("AverageValue", True),
        ("Value", False),
    )
    expected = 5 if "fb_used" in metric.metric.name else 6
    assert scaled(answer, metric) == expected, answer.text


@by_title
async def test_the_form_before_would_not(form: Form) -> None:
    """Unchanged, it is an error that says what to do, or the mean that shrinks the workload."""
    (before,) = yaml.safe_load(form.before)
    if before["type"] == "prometheus":
        return  # a ScaledObject's trigger: not for this server
    old = convert(before, Spec)
    if old == form.after or (old.type == "Pods" and form.after.type == "External"):
        return  # it works unchanged where the custom metrics API is ours
    async with migrated() as simulated:
        simulated.api.apply(SERVICES, SERVICE)
        answer = await ask(simulated.client, old.source)
    if answer.status == HTTPStatus.OK:
        assert scaled(answer, old.source) < READY
        return
    message = answer.error().message
    expected = ("Google names metrics", "Datadog names", "labels of series", "nearest names are")
    assert any(part in message for part in expected)


def convert_one(text: str) -> Spec | None:
    """The old form as a metric; None if it is a trigger."""
    (before,) = yaml.safe_load(text)
    return None if before["type"] == "prometheus" else convert(before, Spec)


def test_most_pods_metrics_stay_as_they_are() -> None:
    """The most common form of all needs no change."""
    (unchanged,) = (form for form in FORMS if form.after == convert_one(form.before))
    assert (unchanged.title, unchanged.after.type) == ("5. type: Pods", "Pods")


def test_the_guide_is_linked() -> None:
    """Readers of the README or the metrics find it."""
    for name in ("README.md", "docs/metrics.md", "docs/hpa.md", "docs/troubleshooting.md"):
        assert "migrating.md" in Path(ROOT, name).read_text(encoding="utf-8"), name
