"""However many pods a query is about, its values are the same, or there is a reason for none."""

import time
from collections.abc import Iterator

import pytest

from metrics_server.measuring.samples import Collection
from metrics_server.rules.model import MetricRule, Query
from metrics_server.rules.templates import parse
from tests.support.prometheus import Prometheus, running
from tests.support.stored import Queried, Sample, open_metrics, pod, querying

pytestmark = pytest.mark.slow

MANY = 2100
# Of 163 pods, the names are longer than a portion; of 2,600, than a query.
PODS = [pod(f"inference-server-llama-7b-deployment-{number:06d}-abcde") for number in range(MANY)]
TOO_MANY = [*PODS, *(pod(f"{one.name}-2") for one in PODS)]
EACH = "sum by (pod) (load{<<.LabelMatchers>>})"
SHARE = f"100 * {EACH} / on () group_left () sum(load{{<<.LabelMatchers>>}})"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus with a load of 1 of each pod."""
    now = time.time()
    samples = [
        Sample("load", 1, now - 5, {"namespace": "ml", "pod": one.name, "user": PODS[0].name})
        for one in PODS
    ]
    folder = tmp_path_factory.mktemp("prometheus")
    with running(Prometheus(folder, samples=open_metrics(samples))) as one:
        yield one


async def found_by(
    queried: Queried, text: str, count: int, label: str | None = "pod"
) -> Collection:
    """What a query finds for some of the pods."""
    query = Query(parse(text), label)
    rule = MetricRule(
        *("mine", "", "", (), 1e6), measures="pods", sources=("prometheus",), query=query
    )
    return await queried.source.collect(rule, TOO_MANY[:count])


@pytest.mark.parametrize("count", [2, 162, 164, 500])
@pytest.mark.parametrize(
    ("text", "of_all", "is_split"),
    [
        (EACH, 1, True),
        ("sum by (pod) (load{namespace=<<.Namespace>>})", 1, False),
        (SHARE, 100, False),
        ("sum by (pod) (load{namespace=<<.Namespace>>, pod =~ <<.Pods>>})", 1, True),
        # The names are those of another label.
        ("sum by (pod) (load{namespace=<<.Namespace>>, user=~<<.Pods>>})", 1, False),
        # Half of it names no pods, and so finds others too.
        (f"{EACH} or sum by (pod) (load{{namespace=<<.Namespace>>}})", 1, True),
    ],
)
async def test_values_do_not_depend_on_the_length_of_names(
    prometheus: Prometheus,
    text: str,
    of_all: float,
    is_split: bool,  # noqa: FBT001
    count: int,
) -> None:
    """A query is split only where each pod's value is its own."""
    expected = of_all / count if text == SHARE else of_all
    async with querying(prometheus.url, PODS[:count]) as queried:
        found = await found_by(queried, text, count)
        values = [one.gpus[0] for one in found.samples]
        assert values == pytest.approx([expected] * count), found.gaps
        portions = -(-count // 163) if is_split else 1
        # Each with the times of its samples.
        assert queried.count() == 2 * portions


async def test_a_share_is_of_the_same_sum_in_a_large_namespace(prometheus: Prometheus) -> None:
    """Whichever of its pods are asked about."""
    async with querying(prometheus.url, PODS) as queried:
        for count in (2, MANY):
            found = await found_by(queried, SHARE, count)
            assert [one.gpus[0] for one in found.samples] == pytest.approx([100 / MANY] * count)
        assert queried.count() == 2


@pytest.mark.parametrize(
    ("label", "text", "words"),
    [
        ("pod", SHARE, "one query, and the value of one may depend on the others"),
        (
            None,
            "sum(load{<<.LabelMatchers>>})",
            "the names of 4200 pods are too long for one query",
        ),
    ],
)
async def test_names_that_are_too_long(
    prometheus: Prometheus, label: str | None, text: str, words: str
) -> None:
    """A part of the pods would give another number."""
    async with querying(prometheus.url, TOO_MANY) as queried:
        found = await found_by(queried, text, len(TOO_MANY), label)
        assert found.samples == ()
        assert words in found.gaps[0].text
        assert queried.count() == 0


@pytest.mark.parametrize("label", ["pod", None])
async def test_a_query_without_names_has_any_number_of_pods(
    prometheus: Prometheus, label: str | None
) -> None:
    """Nothing of it gets longer."""
    text = "sum by (pod) (load{namespace=<<.Namespace>>})" if label else "sum(load{})"
    async with querying(prometheus.url, TOO_MANY) as queried:
        found = await found_by(queried, text, len(TOO_MANY), label)
        assert len(found.samples) == (MANY if label else len(TOO_MANY))
        assert queried.count() == 2
