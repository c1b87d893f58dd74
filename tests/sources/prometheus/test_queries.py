"""PromQL rules with a real Prometheus; no value changes a query's meaning."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metrics_server.measuring.aggregation import aggregate
from metrics_server.rules.model import MetricRule, Query
from metrics_server.rules.presets import DIALECTS
from metrics_server.rules.templates import filled, parse
from metrics_server.sources.prometheus.client import PrometheusSettings
from metrics_server.sources.prometheus.queries import placed
from metrics_server.sources.prometheus.selectors import (
    any_of,
    applied,
    counted,
    joined,
    named,
    of_nodes,
    of_pods,
    of_targets,
    select,
    where,
)
from tests.support.prometheus import Prometheus, running
from tests.support.query_api import client
from tests.support.stored import Sample, of_gpu, open_metrics, pod, querying


def rule(text: str, pod_label: str | None = None, **changes: object) -> MetricRule:
    """A rule with a query."""
    fields = {"maximum": 1000.0, "measures": "pods", "sources": ("prometheus",)}
    is_total = pod_label is None and changes.get("over_pods") == "sum"
    query = Query(parse(text), pod_label, is_total)
    return MetricRule("mine", "", "", (), query=query, **{**fields, **changes})  # type: ignore[arg-type]


def request(count: float, at: float, **labels: str) -> Sample:
    """A gauge of requests in flight."""
    return Sample("in_flight", count, at, {"namespace": "ml", "instance": "i", **labels})


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus with some series; only queries for them return any."""
    now = time.time()
    samples = [
        request(4, now - 5, pod="web-0", code="200"),
        request(1, now - 5, pod="web-0", code="500"),
        request(3, now - 5, pod="web-1", code="200"),
        request(2000, now - 5, pod="web-2", code="200"),
        request(9, now - 5, pod="gone-0", code="200"),
        request(100, now - 5, pod="web-0", code="200", namespace="other"),
        request(7, now - 100, pod="old-0", code="200"),
        request(7, now - 100, pod="both-0", code="200"),
        Sample("info", 1, now - 5, {"namespace": "ml", "pod": "both-0"}),
        Sample("queue", 12, now - 5, {"queue": "work", "namespace": "mq"}),
        of_gpu(1, now - 5, pod="canary"),
    ]
    folder = tmp_path_factory.mktemp("prometheus")
    with running(Prometheus(folder, samples=open_metrics(samples))) as one:
        yield one


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sum by (pod) (in_flight{<<.LabelMatchers>>})", {"web-0": 5, "web-1": 3}),
        (
            "sum by (<<.GroupBy>>) (in_flight{namespace=<<.Namespace>>, pod=~<<.Pods>>})",
            {"web-0": 5, "web-1": 3},
        ),
        ("in_flight{code='200', <<.LabelMatchers>>} # each", {"web-0": 4, "web-1": 3}),
        ('avg by (pod) (in_flight{namespace=<<.Namespace>>,code="500"})', {"web-0": 1}),
    ],
)
async def test_a_value_for_each_pod(
    prometheus: Prometheus, text: str, expected: dict[str, float]
) -> None:
    """The label names the pod; other namespaces and deleted pods do not count."""
    pods = [pod("web-0"), pod("web-1"), pod("web-2"), pod("none-0")]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(rule(text, "pod"), pods)
    assert {one.pod: one.gpus[0] for one in found.samples} == expected
    words = "; ".join(gap.text for gap in found.gaps)
    assert "none-0: the query has no value for it" in words
    if "web-1" in expected:
        assert "pod web-2: the query has a value that is out of range: 2000" in words


@pytest.mark.parametrize(
    ("over_pods", "text", "expected"),
    [
        ("sum", "sum(in_flight{<<.LabelMatchers>>})", 8),
        ("avg", "avg(in_flight{<<.LabelMatchers>>})", 8 / 3),
        ("max", "max(in_flight{<<.LabelMatchers>>})", 4),
        ("sum", "queue{queue='work'}", 12),
        ("avg", "scalar(queue{queue='work'})", 12),
    ],
)
async def test_one_value_for_all_pods(
    prometheus: Prometheus, over_pods: str, text: str, expected: float
) -> None:
    """A single value is the answer, whatever the number of pods."""
    pods = [pod("web-0"), pod("web-1")]
    own = rule(text, over_pods=over_pods)
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(own, pods)
    assert aggregate(own, found, 1).value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "label", "reason", "words"),
    [
        ("in_flight{pod=~<<.Pods>>}", None, "no-sample", "the query has 4 values, not one"),
        ("nothing{pod=~<<.Pods>>}", None, "no-sample", "no series matches it now"),
        ("in_flight{<<.LabelMatchers>>}", "pod", "no-sample", 'several values with pod="web-0"'),
        ("avg(queue{}) * NaN", None, "no-sample", "out of range: nan"),
        ("queue{} - 13", None, "no-sample", "out of range: -1"),
        ("sum(in_flight[5m])", None, "prometheus-failed", "expected type instant vector"),
        ("in_flight{}[5m]", None, "prometheus-failed", "matrix"),
    ],
)
async def test_a_query_without_a_value(
    prometheus: Prometheus, text: str, label: str | None, reason: str, words: str
) -> None:
    """The message says what to change."""
    pods = [pod("web-0"), pod("web-1")]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(rule(text, label), pods)
    assert found.gaps[0].reason == reason
    assert words in found.gaps[0].text


async def test_the_time_is_that_of_the_samples(prometheus: Prometheus) -> None:
    """The time is not the query's."""
    pods = [pod("web-0")]
    began = time.time()
    async with querying(prometheus.url, pods) as queried:
        for text, label in (
            ("sum by (pod) (in_flight{<<.LabelMatchers>>})", "pod"),
            ("sum(in_flight{<<.LabelMatchers>>})", None),
        ):
            (sample,) = (await queried.source.collect(rule(text, label), pods)).samples
            assert time.monotonic() - sample.timestamp >= 5
            assert time.monotonic() - sample.timestamp < 60 + time.time() - began


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ['"', "\\", "\n", "}", '"} or {__name__=~".+"} or up{a="', "$1", "|.*", "\u2028", "a\\"]
)


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))
async def test_no_value_changes_the_meaning_of_a_query(
    prometheus: Prometheus, one: str, several: list[str]
) -> None:
    """Each query is valid, and returns nothing, as there is nothing to find."""
    several = [text if text != "canary" else "-" for text in several]
    names = named(["DCGM_FI_DEV_GPU_UTIL", "gpu_gfx_activity"], DIALECTS)
    by_pod = Query(parse("sum by (pod) (in_flight{<<.LabelMatchers>>})"), "pod")
    by_both = Query(parse("in_flight{namespace=<<.Namespace>>,pod=~<<.Pods>>}"))
    own = where({"cluster": f"c{one}"})
    queries = [
        counted(
            ["instance"], any_of(select(names, of, own) for of in of_pods(DIALECTS, one, several))
        ),
        counted(
            ["instance"], any_of(select(names, f"{of},{own}") for of in of_nodes(DIALECTS, several))
        ),
        select(names, joined(of_targets([(f"x{one}", one), ("y", "z")]), own)),
        applied("timestamp", {"in_flight": [own]}),
        applied("increase", {"in_flight": [own], "queue": [own]}, "60s"),
        *(filled(query.marked, placed(query, f"n{one}", several)) for query in (by_pod, by_both)),
    ]
    async with client(PrometheusSettings(prometheus.url, timeout=30)) as queried:
        for query in queries:
            assert (await queried.query(query)).series == ()
