"""The object store behind the simulated Kubernetes API."""

import pytest

from metrics_server.simulator.kube.objects import PODS, ExpiredError, Json, Object, ObjectStore
from tests.support.api_answers import metadata


def test_the_history_is_bounded() -> None:
    """A version from before the history is expired."""
    store = ObjectStore(history=3)
    for name in "abcde":
        store.apply(PODS, {"metadata": {"name": name}})
    assert [event.version for event in store.since(PODS, 3)] == [4, 5, 6]
    assert [name for _, name in store.snapshot(PODS, 3)] == ["a", "b"]
    with pytest.raises(ExpiredError):
        store.since(PODS, 2)


def test_the_store_keeps_its_own_copy() -> None:
    """Later changes to the caller's object do not affect the stored one."""
    store = ObjectStore()
    labels: Json = {"a": "1"}
    pod: Object = {"metadata": {"name": "x", "labels": labels}}
    first = store.apply(PODS, pod)
    assert isinstance(labels, dict)
    labels["a"] = "2"
    second = store.apply(PODS, pod)
    before, after = metadata(first), metadata(second)
    assert (before["labels"], after["labels"]) == ({"a": "1"}, {"a": "2"})
    assert before["uid"] == after["uid"]
    assert before["creationTimestamp"] == after["creationTimestamp"]
    with pytest.raises(KeyError):
        store.delete(PODS, "default", "y")
