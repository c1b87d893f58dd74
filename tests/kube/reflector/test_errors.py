"""A reflector backs off after errors, and lists again when it must."""

import pytest
from msgspec import Raw

from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import Pod
from metrics_server.kube.reflector import Reflector
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import PODS
from tests.support.reflecting import PATH, Naps, decode, lists, names, pod, running, watches
from tests.support.waiting import until


async def test_too_many_requests_is_waited_out(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore, naps: Naps
) -> None:
    """A busy API server gets another watch request, not a list, which costs it more."""
    async with running(reflector):
        await until(lambda: api.open_watches == 1)
        api.apply(PODS, pod("before"))
        await until(lambda: names(store) == {"before"})
        api.faults.refuse_next(429, "the server has received too many requests")
        api.faults.drop_watches()
        await until(lambda: len(watches(api)) == 3)
    assert (len(lists(api)), len(naps.seconds)) == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("inside", [True, False], ids=["in the stream", "as the HTTP status"])
async def test_an_expired_version_causes_a_new_list(
    api: KubernetesAPI,
    reflector: Reflector[Pod],
    store: PodStore,
    naps: Naps,
    inside: bool,  # noqa: FBT001 - the case
) -> None:
    """If the history is lost, everything is listed again, from etcd, as that is never older."""
    async with running(reflector):
        await until(lambda: api.open_watches == 1)
        api.apply(PODS, pod("old"))
        await until(lambda: names(store) == {"old"})
        naps.may_go_on.clear()
        api.faults.drop_watches()
        await until(lambda: len(naps.seconds) == 1)
        api.delete(PODS, "default", "old")
        api.apply(PODS, pod("new"))
        if inside:
            api.faults.expire_versions()
        else:
            api.faults.refuse_next(410, "too old resource version")
        naps.may_go_on.set()
        await until(lambda: names(store) == {"new"} and reflector.last_error is None)
    assert [query["resourceVersion"] for query in lists(api)] == ["0", ""]
    assert reflector.relists == 1


async def test_an_expired_page_starts_the_list_again(
    client: KubernetesClient, api: KubernetesAPI, store: PodStore, naps: Naps
) -> None:
    """A list that outlasts the history starts again, and is complete."""
    for number in range(600):
        api.apply(PODS, pod(f"pod-{number:03}"))
    compactions = iter([True])

    def decode_slowly(raw: Raw) -> Pod:
        if next(compactions, False):
            api.apply(PODS, pod("pod-999"))
            api.faults.expire_versions()
        return decode(raw)

    reflector = Reflector(client, PATH, decode_slowly, store, first_version="", sleep=naps)
    async with running(reflector):
        await until(reflector.synced.is_set)
    assert len(store) == 601
    assert [query.get("resourceVersion") for query in lists(api)] == ["", None, "", None]
    assert len(naps.seconds) == 1


@pytest.mark.slow
async def test_errors_are_waited_out_ever_longer(
    api: KubernetesAPI, reflector: Reflector[Pod], naps: Naps
) -> None:
    """Each failure doubles the wait up to its cap; the error is reported, and it is not synced."""
    told: list[str | None] = []
    api.faults.refuse_next(500, "etcdserver: leader changed", times=9)
    async with running(reflector):
        await until(lambda: bool(naps.seconds))
        told.append(reflector.last_error)
        assert not reflector.synced.is_set()
        await until(reflector.synced.is_set)
        await until(lambda: reflector.last_error is None)
    assert naps.seconds == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert told == ["etcdserver: leader changed"]
    assert reflector.relists == 0


async def test_success_resets_the_wait(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore, naps: Naps
) -> None:
    """After an event the wait starts small again."""
    api.faults.refuse_next(500, "no", times=3)
    async with running(reflector):
        await until(lambda: api.open_watches == 1)
        api.apply(PODS, pod("x"))
        await until(lambda: names(store) == {"x"})
        api.faults.drop_watches()
        await until(lambda: len(naps.seconds) == 4)
    assert naps.seconds == [0.5, 1, 2, 0.5]


async def test_the_wait_is_random(
    client: KubernetesClient, api: KubernetesAPI, store: PodStore, naps: Naps
) -> None:
    """The wait is random between zero and its maximum: replicas do not all come back at once."""
    # The watch draws its duration first.
    numbers = iter([1, 0.0, 0.25, 0.5])
    reflector = Reflector(client, PATH, decode, store, sleep=naps, rand=lambda: next(numbers, 1))
    api.faults.refuse_next(500, "no", times=3)
    async with running(reflector):
        await until(reflector.synced.is_set)
    assert naps.seconds == [0, 0.25, 1]


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"\xff\xfe\n",
        b'{"type":"ADDED","object":{"metadata":{"name":"x"}}}\n',
        b'{"type":"ADDED","object":{"metadata":{"name":"x","resourceVersion":"9"}}}\n',
        b'{"type":"UPSIDE-DOWN","object":{}}\n',
        b'{"type":"ERROR","object":{"code":500,"message":"storage is (re)initializing"}}\n',
    ],
)
async def test_a_bad_event_costs_a_list(
    api: KubernetesAPI, reflector: Reflector[Pod], store: PodStore, line: bytes
) -> None:
    """A malformed event may have been a change, so everything is listed again."""
    async with running(reflector):
        await until(lambda: api.open_watches == 1)
        api.apply(PODS, pod("x"))
        await until(lambda: names(store) == {"x"})
        api.faults.send_to_watches(line)
        await until(lambda: reflector.relists == 1)
        api.apply(PODS, pod("y"))
        await until(lambda: names(store) == {"x", "y"})
