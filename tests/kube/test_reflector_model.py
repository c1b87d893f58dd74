"""A reflector against a plain dict: whatever the API sends, they end up equal."""

import asyncio
import json
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.pods import Pod, pod_decoder
from metrics_server.kube.reflector import Reflector
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import NODES, PODS, Object, metadata
from tests.support.harness import write_kubeconfig
from tests.support.kubernetes import connected
from tests.support.reflecting import PATH, running
from tests.support.waiting import until

pytestmark = pytest.mark.slow

T = TypeVar("T")

decode = pod_decoder()

NAMESPACES = st.sampled_from(["one", "two"])
NAMES = st.sampled_from(["a", "b", "c"])
PHASES = st.sampled_from(["Pending", "Running", "Failed"])
CODES = st.sampled_from([400, 403, 410, 429, 500, 503, 504])


def described(namespace: str, name: str, phase: str, gpus: int) -> Object:
    """A Pod."""
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": {"phase": phase}},
        "spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}]},
        "status": {"phase": phase},
    }


async def _no_sleep(_: float) -> None:
    await asyncio.sleep(0)


class Follows(RuleBasedStateMachine):
    """Changes pods, and breaks everything between them and the store."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.model: dict[tuple[str, str], Pod] = {}
        # Every state that a pod ever had: the store may be late, but it invents nothing.
        self.ever: set[tuple[str, str, str, int]] = set()
        self.history: list[Object] = []

    def do(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run it in the machine's own event loop."""
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 20))

    @initialize(pods=st.integers(0, 3), first=st.sampled_from(["", "0"]), streams=st.booleans())
    def begin(self, pods: int, first: str, streams: bool) -> None:  # noqa: FBT001 - drawn
        """A cluster with some pods, and a running reflector."""
        self.store = PodStore()
        self.do(self._begin(pods, first, streams=streams))

    async def _begin(self, pods: int, first: str, *, streams: bool) -> None:
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.api = await self.stack.enter_async_context(KubernetesAPI(bookmark_seconds=0.01))
        self.api.faults.streams_lists = streams
        for number in range(pods):
            self.put("one", "abc"[number], "Running", 1)
        kubeconfig = write_kubeconfig(Path(folder, "kubeconfig"), self.api.url)
        client = await self.stack.enter_async_context(connected(kubeconfig))
        self.reflector = Reflector(
            client,
            PATH,
            decode,
            self.store,
            first_version=first,
            watch_seconds=(5, 5),
            sleep=_no_sleep,
        )
        await self.stack.enter_async_context(running(self.reflector))

    def put(self, namespace: str, name: str, phase: str, gpus: int) -> None:
        """Put a pod into the cluster, and into the model."""
        made = self.api.apply(PODS, described(namespace, name, phase, gpus))
        self.history.append(made)
        self.model[namespace, name] = decode(json.dumps(made).encode())
        self.ever.add((namespace, name, phase, gpus))

    @rule(namespace=NAMESPACES, name=NAMES, phase=PHASES, gpus=st.integers(0, 2))
    def apply(self, namespace: str, name: str, phase: str, gpus: int) -> None:
        """A pod is created or changed."""
        self.put(namespace, name, phase, gpus)

    @rule(namespace=NAMESPACES, name=NAMES)
    def delete(self, namespace: str, name: str) -> None:
        """A pod is deleted."""
        if self.model.pop((namespace, name), None):
            self.api.delete(PODS, namespace, name)

    @rule()
    def change_something_else(self) -> None:
        """The version advances without a change of pods."""
        self.api.apply(NODES, {"metadata": {"name": "n"}})

    @rule()
    def drop(self) -> None:
        """The watch's connection breaks."""
        self.api.faults.drop_watches()

    @rule()
    def compact(self) -> None:
        """The history is lost, so a watch that is behind cannot continue."""
        self.api.faults.expire_versions()
        self.api.faults.drop_watches()

    @rule(streams=st.booleans())
    def offer_streams(self, streams: bool) -> None:  # noqa: FBT001 - drawn
        """The API is upgraded, or rolled back."""
        self.api.faults.streams_lists = streams

    @rule(events=st.integers(0, 4))
    def break_streams(self, events: int) -> None:
        """The next streamed list breaks in the middle."""
        self.api.faults.cut_next_stream(events)

    @rule(code=CODES)
    def fail_inside(self, code: int) -> None:
        """The watch gets an ERROR event."""
        self.api.faults.fail_watches(code, "an error")

    @rule(code=CODES, times=st.integers(1, 3))
    def fail_next(self, code: int, times: int) -> None:
        """The next requests are refused."""
        self.api.faults.refuse_next(code, "a refusal", times=times)

    @rule(
        garbage=st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [
                    b'{"type":"ADDED","object":{"metadata":{"name":"x"',
                    b'{"type":"ADDED","object":{"metadata":{"name":"x","resourceVersion":"1"}}}',
                    b'{"type":"DELETED","object":{}}',
                    b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"1"}}}',
                    b"null",
                    b"[]",
                ]
            ),
        )
    )
    def send_garbage(self, garbage: bytes) -> None:
        """A line is garbage, incomplete, or old."""
        self.api.faults.send_to_watches(garbage + b"\n")

    @precondition(lambda self: self.history)
    @rule(data=st.data(), kind=st.sampled_from(["ADDED", "MODIFIED"]), times=st.integers(1, 2))
    def repeat(self, data: st.DataObject, kind: str, times: int) -> None:
        """An event is repeated, maybe long after it was true."""
        self.settle()
        self.do(until(lambda: self.api.open_watches == 1))
        line = json.dumps({"type": kind, "object": data.draw(st.sampled_from(self.history))})
        for _ in range(times):
            self.api.faults.send_to_watches(line.encode() + b"\n")
        self.do(asyncio.sleep(0.005))

    @rule(seconds=st.sampled_from([0, 0, 0.001, 0.02]))
    def wait(self, seconds: float) -> None:
        """Some time passes."""
        self.do(asyncio.sleep(seconds))

    @rule()
    def settle(self) -> None:
        """Nothing else happens: the store ends up like the cluster."""
        self.do(until(lambda: self.reflector.synced.is_set() and self.held() == self.model))

    @invariant()
    def nothing_is_made_up(self) -> None:
        """Every pod in the store once existed like that."""
        for held in self.held().values():
            assert (held.namespace, held.name, held.phase, held.gpus) in self.ever

    def held(self) -> dict[tuple[str, str], Pod]:
        """The contents of the store."""
        if not hasattr(self, "store"):
            return {}
        pods = [pod for namespace in ("one", "two") for pod in self.store.in_namespace(namespace)]
        assert len(pods) == len(self.store)
        for namespace, name in {(pod.namespace, pod.name) for pod in pods}:
            assert self.store.get(namespace, name) in pods
        return {(pod.namespace, pod.name): pod for pod in pods}

    def teardown(self) -> None:
        """In the end they are equal, and the reflector is still running."""
        try:
            if hasattr(self, "reflector"):
                self.settle()
                assert metadata(self.api.apply(PODS, described("one", "z", "Running", 1)))
                self.ever.add(("one", "z", "Running", 1))
                self.do(until(lambda: self.store.get("one", "z") is not None))
            self.do(self.stack.aclose())
        finally:
            self.loop.close()


def test_a_store_becomes_what_the_cluster_is() -> None:
    """After any sequence of events the store ends up like the cluster."""
    run_state_machine_as_test(
        Follows,
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            # Waiting for a store that stays wrong would take a shrinker minutes.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )
