"""The guide to migrating: each form before is refused or wrong, and each after scales rightly."""

import re
from http import HTTPStatus
from math import ceil
from pathlib import Path

import pytest
import yaml
from msgspec import Struct, convert

from metrics_server.api.types import milli_value
from tests.deployments.manifests import ROOT
from tests.support.harness import cluster, page, pod

GUIDE = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")

# Four busy pods: at a target of 70 % the HPA must ask for ceil(4 * 90 / 70) = 6, and of 60k MiB
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
        """What its type says that it has."""
        sources = {"External": self.external, "Pods": self.pods, "Object": self.object}
        source = sources[self.type]
        assert source is not None
        return source


class Form(Struct, frozen=True):
    """A form of the guide.

    Attributes:
        title: its heading.
        before: as YAML.
        after: what becomes of it.
    """

    title: str
    before: str
    after: Spec


def _side(diff: str, sign: str) -> str:
    return "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in (" ", sign))


def forms() -> list[Form]:
    """Every form that the guide shows."""
    sections = re.findall(r"^### (\d+\. .+?)\n(.*?)(?=^#|\Z)", GUIDE, re.MULTILINE | re.DOTALL)
    return [
        Form(title, _side(diff, "-"), convert(yaml.safe_load(_side(diff, "+"))[0], Spec))
        for title, section in sections
        for diff in re.findall(r"```diff\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    ]


FORMS = forms()
by_title = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.title)


def replicas(answer: str, target: Target) -> int:
    """What the HPA computes, by the field that the target has, as Kubernetes does."""
    if target.average_value is not None:
        return ceil(milli_value(answer) / milli_value(target.average_value))
    assert target.value is not None
    return ceil(READY * milli_value(answer) / milli_value(target.value))


def test_ten_forms_are_shown() -> None:
    """They are numbered, and the form before is valid YAML too."""
    assert [form.title.split(".")[0] for form in FORMS] == [str(n + 1) for n in range(10)]
    for form in FORMS:
        assert yaml.safe_load(form.before)


@by_title
async def test_the_form_after_scales_rightly(form: Form) -> None:
    """Asked through a whole server, it gives the replicas that the load needs."""
    metric, target = form.after.external.metric, form.after.external.target
    assert form.after.type == "External"
    assert metric.selector is not None
    selector = ",".join(f"{key}={value}" for key, value in metric.selector.match_labels.items())
    async with cluster({"gpu-0": PAGE}, map(pod, PODS)) as simulated:
        # As the HPA controller asks: client-go has the name in lower case.
        answer = await simulated.client.metric("default", metric.name.lower(), selector)
    assert (target.type, target.average_value is not None) in (
        ("AverageValue", True),
        ("Value", False),
    )
    assert replicas(answer.item().value, target) == (5 if "fb_used" in metric.name else 6)


@by_title
async def test_the_form_before_would_not(form: Form) -> None:
    """Left as it is, it is an error that says what to do, or the mean that shrinks the workload."""
    (before,) = yaml.safe_load(form.before)
    if before["type"] != "External":
        return  # another API's, or a ScaledObject's: this server is never asked
    old = convert(before, Spec).external
    labels = old.metric.selector.match_labels if old.metric.selector else {}
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    async with cluster({"gpu-0": PAGE}, map(pod, PODS)) as simulated:
        answer = await simulated.client.metric("default", old.metric.name.lower(), selector)
    if answer.status == HTTPStatus.OK:
        assert replicas(answer.item().value, old.target) < READY
        return
    message = answer.error().message
    assert any(
        part in message for part in ("Google names metrics", "Datadog names", "labels of series")
    )


def test_the_guide_is_linked() -> None:
    """Whoever looks at the README or the metrics finds it."""
    for name in ("README.md", "docs/metrics.md", "docs/hpa.md", "docs/troubleshooting.md"):
        assert "migrating.md" in Path(ROOT, name).read_text(encoding="utf-8"), name
