"""A pod that was recreated under its name does not get the value of the earlier one."""

import time
from collections.abc import Iterator

import pytest

from metrics_server.kube.pods import Pod
from metrics_server.rules.model import MetricRule, Query, Reading
from metrics_server.rules.templates import parse
from tests.support.prometheus import Prometheus, running
from tests.support.stored import Sample, open_metrics, pod, querying

pytestmark = pytest.mark.slow

SCRAPED_SECONDS_AGO = 10
EACH = "sum by (pod) (load{<<.LabelMatchers>>})"


def rule(query: str = "", label: str | None = "pod") -> MetricRule:
    """A rule with a query, or for the load on the pods' own pages."""
    if not query:
        readings = (Reading("load", 0, 1000),)
        return MetricRule("mine", "", "", readings, 1000, measures="pods")
    own = Query(parse(query), label)
    return MetricRule("mine", "", "", (), 1000, measures="pods", query=own)


PAGES = rule()
QUERY = rule(EACH)


@pytest.fixture(scope="module")
def now() -> float:
    """When the samples end."""
    return time.time()


@pytest.fixture(scope="module")
def prometheus(now: float, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus with two pods, of which web-1 was scraped later; and a queue."""
    samples = [
        Sample(
            "load",
            7,
            now - SCRAPED_SECONDS_AGO + later,
            {"namespace": "ml", "pod": f"web-{later}", "instance": f"10.0.0.{later}:80"},
        )
        for later in (0, 5)
    ]
    samples.append(Sample("queue", 3, now - SCRAPED_SECONDS_AGO, {}))
    folder = tmp_path_factory.mktemp("prometheus")
    with running(Prometheus(folder, samples=open_metrics(samples))) as one:
        yield one


def created(name: str, at: float) -> list[Pod]:
    """A pod, created at a time in seconds since the epoch."""
    return [pod(name, gpus=0, created=at)]


@pytest.mark.parametrize("rule", [PAGES, QUERY], ids=["pages", "query"])
@pytest.mark.parametrize("is_known", [False, True])
async def test_samples_of_an_earlier_pod_do_not_count(
    prometheus: Prometheus,
    now: float,
    rule: MetricRule,
    is_known: bool,  # noqa: FBT001
) -> None:
    """Whether they were found before it was recreated or after."""
    old = created("web-0", now - SCRAPED_SECONDS_AGO - 1)
    new = created("web-0", now - SCRAPED_SECONDS_AGO + 1)
    async with querying(prometheus.url, old if is_known else new) as queried:
        if is_known:
            found = await queried.source.collect(rule, old)
            assert [one.gpus for one in found.samples] == [(7,)]
        known = queried.count()
        found = await queried.source.collect(rule, new)
        assert found.samples == ()
        assert "before the pod was created" in found.gaps[0].text
        assert (queried.count() == known) is is_known


@pytest.mark.parametrize(
    ("query", "label", "value"),
    [
        # Its own samples are younger than it, those of the other pod are not.
        (f"{EACH} + on () group_left sum(load{{namespace=<<.Namespace>>}})", "pod", 21),
        (f"{EACH} + on () group_left queue{{}}", "pod", 10),
        ("sum(queue{})", None, 3),
    ],
)
async def test_what_is_not_of_a_pod_may_be_older(
    prometheus: Prometheus, now: float, query: str, label: str | None, value: float
) -> None:
    """It does not belong to an earlier pod of the name."""
    pods = created("web-5", now - SCRAPED_SECONDS_AGO + 2)
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(rule(query, label), pods)
    assert [one.gpus for one in found.samples] == [(value,)], found.gaps
