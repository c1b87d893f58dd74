"""Rows of a pod's page that differ in a label that Prometheus servers add, too."""

import time
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.config.rule_sources import used_with
from metrics_server.rules.serving import SERVING
from metrics_server.sources.prometheus.copies import Copies
from metrics_server.sources.prometheus.selectors import NODES, REPLICAS
from tests.support.prometheus import Prometheus, running
from tests.support.stored import Sample, open_metrics, pod, querying

WAITING = next(used_with(one, "only") for one in SERVING if one.name == "llm_requests_waiting")


def of_pod(
    name: str, value: float, at: float, *, family: str = "vllm:num_requests_waiting", **labels: str
) -> Sample:
    """A sample with the labels of a pod's target."""
    target = {"namespace": "ml", "pod": name, "instance": "10.0.0.1:8000", "job": "serve"}
    return Sample(family, value, at, {**target, **labels})


def up(name: str, at: float, **labels: str) -> Sample:
    """What a server writes for the target of a pod."""
    return of_pod(name, 1, at, family="up", **labels)


def samples(now: float) -> Iterator[Sample]:
    """What is stored of some pods."""
    # Three rows of a page that has such a label itself.
    for label in (*NODES, *REPLICAS):
        yield up(f"own-{label}", now - 10, env="prod")
        for value, text in enumerate("abc", 3):
            yield of_pod(f"own-{label}", value, now - 10, env="prod", **{label: text})
    # Also in rows of a server with a label of that name, which the page's own replace.
    yield up("kept", now - 10, cluster="prod")
    for value, text in enumerate("abc", 3):
        yield of_pod("kept", value, now - 10, cluster=text)
    # Two servers, of which the second has seen a row that is new; and a page with its own label.
    for server, at, rows in (("a", now - 15, "xy"), ("b", now - 10, "xyz")):
        yield up("pair", at, replica=server)
        yield up("pair-own", at, prometheus_replica=server)
        for text in rows:
            yield of_pod("pair", 2, at, replica=server, engine=text)
            yield of_pod("pair-own", 2, at, prometheus_replica=server, replica=text)
    # Nothing shows what the label is of: there is no `up`, or that of only one of the values.
    yield up("one-up", now - 10, replica="a")
    for name in ("no-up", "one-up"):
        yield of_pod(name, 3, now - 10, replica="a")
        yield of_pod(name, 4, now - 10, replica="b")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus with these samples."""
    stored = open_metrics(list(samples(time.time())))
    with running(Prometheus(tmp_path_factory.mktemp("prometheus"), samples=stored)) as one:
        yield one


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [*((f"own-{label}", 12) for label in (*NODES, *REPLICAS)), ("kept", 12), ("pair", 6)],
)
async def test_rows_add_up_and_copies_count_once(
    prometheus: Prometheus, name: str, value: float
) -> None:
    """What `up` does not have is of the page; of copies, the newest counts."""
    pods = [pod(name, gpus=0)]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(WAITING, pods)
    assert [one.gpus for one in found.samples] == [(value,)], found.gaps


@pytest.mark.slow
async def test_a_page_with_such_a_label_may_have_copies(prometheus: Prometheus) -> None:
    """One label is of the page, another of the servers."""
    pods = [pod("pair-own", gpus=0)]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(WAITING, pods)
    assert [one.gpus for one in found.samples] == [(6,)], found.gaps


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no-up", "one-up"])
async def test_what_cannot_be_decided_has_no_value(prometheus: Prometheus, name: str) -> None:
    """One row of two would be too little, and both of two copies too much."""
    pods = [pod(name, gpus=0)]
    async with querying(prometheus.url, pods) as queried:
        found = await queried.source.collect(WAITING, pods)
    assert found.samples == ()
    assert "has rows in Prometheus that differ in replica, and no series named up shows" in (
        found.gaps[0].text
    )


TEXTS = st.sets(st.sampled_from("abcd"), min_size=1, max_size=3)


@given(st.lists(TEXTS, min_size=4, max_size=4), st.sets(st.sampled_from(REPLICAS)))
def test_there_are_as_many_copies_as_servers(texts: list[set[str]], of_servers: set[str]) -> None:
    """Whatever labels the servers have, and a page has."""
    rows: list[Mapping[str, str]] = [{}]
    for name, values in zip(REPLICAS, texts, strict=True):
        rows = [{**row, name: text} for row in rows for text in values]
    servers = tuple(
        values if name in of_servers else {""} for name, values in zip(REPLICAS, texts, strict=True)
    )
    copies = Copies()
    copies.decide(("", ""), tuple(texts), servers)
    pages = {copies.group_of(row) for row in rows}
    assert len(pages) == len({tuple([row[name] for name in of_servers]) for row in rows})
    assert not any(map(copies.undecided, rows))
