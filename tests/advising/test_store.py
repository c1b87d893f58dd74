import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from structlog.testing import capture_logs

from metrics_server.advising.names import MetricNames
from metrics_server.advising.store import AutoscalerStore, Key
from metrics_server.common.weight import weight
from metrics_server.kube.autoscalers import Autoscaler
from tests.advising.manifests import RULES, hpa

METRIC = "- {type: Pods, pods: {metric: {name: gpu_utilization}}}"
OTHERS = "- {type: Pods, pods: {metric: {name: requests}}}"


def named(name: str, metrics: str = METRIC, **fields: int) -> Autoscaler:
    """An HPA with this name; only metrics that may be the server's are kept."""
    found = hpa(metrics, names=MetricNames(RULES).may_be_meant)
    return structs.replace(found, name=name, **fields)


@pytest.fixture
def changed() -> list[Key]:
    """The changes that were reported."""
    return []


@pytest.fixture
def store(changed: list[Key]) -> AutoscalerStore:
    """An empty store."""
    return AutoscalerStore(changed.append)


def test_only_hpas_of_our_metrics_are_kept(store: AutoscalerStore, changed: list[Key]) -> None:
    """A cluster has many others."""
    store.replace([named("ours"), named("theirs", OTHERS)])
    store.apply("ADDED", named("another", OTHERS))
    assert [*store] == [("default", "ours")]
    assert changed == [("default", "ours")]
    assert len(store) == 1


def test_what_changes_is_reported(store: AutoscalerStore, changed: list[Key]) -> None:
    """Once per change, and not for changes to a status that is not kept."""
    key = ("default", "a")
    store.apply("ADDED", named("a"))
    store.apply("MODIFIED", named("a"))
    assert changed == [key]
    store.apply("MODIFIED", named("a", current_replicas=4))
    assert changed == [key] * 2
    assert store.get(key) == named("a", current_replicas=4)
    store.apply("MODIFIED", named("a", OTHERS))
    assert changed == [key] * 3
    assert store.get(key) is None
    store.apply("DELETED", named("a"))
    assert changed == [key] * 3


def test_a_list_reports_what_differs(store: AutoscalerStore, changed: list[Key]) -> None:
    """New, changed and deleted ones."""
    store.replace([named("same"), named("gone"), named("other")])
    changed.clear()
    store.replace([named("same"), named("other", current_replicas=9), named("new")])
    assert sorted(changed) == [("default", name) for name in ("gone", "new", "other")]


def test_memory_is_bounded() -> None:
    """HPAs beyond the limit are not checked, and the log says so once."""
    size = named("a").bytes
    store = AutoscalerStore(lambda _: None, max_bytes=3 * size)
    with capture_logs() as logs:
        for name in "abcde":
            store.apply("ADDED", named(name))
        assert len(store) == 3
        store.apply("MODIFIED", named("a", current_replicas=9))
        store.apply("DELETED", named("b"))
        store.apply("MODIFIED", named("d"))
        assert {name for _, name in store} == {"a", "c", "d"}
        store.replace(map(named, "abc"))
    assert [(one["log_level"], one["event"]) for one in logs] == [
        ("warning", "too many HPAs to check all of them"),
        ("info", "all HPAs are checked"),
    ]


Step = Callable[[AutoscalerStore], None]


def _apply(name: str, replicas: int, metrics: str, *, deleted: bool) -> Step:
    item = named(name, metrics, current_replicas=replicas)
    return lambda store: store.apply("DELETED" if deleted else "MODIFIED", item)


def _replace(names: set[str]) -> Step:
    return lambda store: store.replace(map(named, names))


STEPS = st.one_of(
    st.builds(
        _apply,
        st.sampled_from("abc"),
        st.integers(0, 2),
        st.sampled_from([METRIC, OTHERS]),
        deleted=st.booleans(),
    ),
    st.builds(_replace, st.sets(st.sampled_from("abc"))),
)


@given(st.lists(STEPS, max_size=20))
def test_whoever_follows_the_changes_knows_the_store(steps: list[Step]) -> None:
    """The reported changes lead to the same HPAs, and the byte count matches."""
    known: dict[Key, Autoscaler] = {}
    pending: list[Key] = []
    store = AutoscalerStore(pending.append)
    for step in steps:
        step(store)
        for key in pending:
            known.pop(key, None)
            if (item := store.get(key)) is not None:
                known[key] = item
        pending.clear()
        assert known == {key: store.get(key) for key in store}
        assert store._bytes == sum(item.bytes for item in known.values())


def test_the_record_of_an_hpa_is_about_as_large_as_it_says() -> None:
    """The limit for all of them depends on it."""
    values = [f"v{n}" for n in range(50)]
    expression = json.dumps({"key": "app", "operator": "In", "values": values})
    selector = f"{{matchExpressions: [{expression}]}}"
    named = f"{{name: gpu_utilization, selector: {selector}}}"
    for text in (METRIC, f"- {{type: Pods, pods: {{metric: {named}}}}}"):
        found = hpa(text)
        assert weight(found) / 2 < found.bytes < 3 * weight(found)
