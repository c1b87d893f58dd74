"""The simulated Kubernetes API responds like a recorded one."""

import base64
import json

import msgspec
import pytest
from aiohttp import ClientSession

from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import PODS
from tests.support.api_answers import (
    PODS_PATH,
    Recordings,
    as_object,
    get,
    listed,
    metadata,
    recorded,
    recorded_status,
    watching,
)


def shape(value: object) -> object:
    """Names and types without values."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    return type(value)


def recorded_events(recordings: Recordings, name: str) -> list[dict[str, object]]:
    """The watch events of a recording."""
    entries = msgspec.convert(recordings[name]["events"], list[dict[str, object]])
    return [msgspec.convert(entry["event"], dict[str, object]) for entry in entries]


async def test_pages_are_as_recorded(
    api: KubernetesAPI, session: ClientSession, recordings: Recordings
) -> None:
    """A list's pages have a real one's objects and metadata."""
    first = await listed(session, PODS_PATH, limit="3")
    real = recorded(recordings, "pods-list-page1")
    assert (first.kind, first.stripped()) == (real.kind, real.stripped())
    assert shape(first.metadata) == shape(real.metadata)
    assert first.metadata["remainingItemCount"] == 3

    token, real_token = (
        json.loads(base64.urlsafe_b64decode(f"{page.metadata['continue']}=="))
        for page in (first, real)
    )
    assert {**token, "rv": 0, "start": ""} == {**real_token, "rv": 0, "start": ""}

    token_text = str(first.metadata["continue"])
    second = await listed(session, PODS_PATH, limit="3", **{"continue": token_text})
    assert second.stripped() == recorded(recordings, "pods-list-page2").stripped()
    assert second.metadata == {"resourceVersion": str(api.store.version)}


async def test_a_selector_selects_as_recorded(
    session: ClientSession, recordings: Recordings
) -> None:
    """The recording's selector selects the same pods."""
    real = recorded(recordings, "pods-list-label-selector")
    path = "/api/v1/namespaces/default/pods"
    selected = await listed(
        session, path, labelSelector="app=inference,!canary,tier in (accel,gpu)"
    )
    assert selected.stripped() == real.stripped()
    assert shape(selected.metadata) == shape(real.metadata)
    none = await listed(session, path, labelSelector="app=other")
    assert none.items == []


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("nodes-list", "/api/v1/nodes"),
        (
            "endpointslices-dcgm-exporter",
            "/apis/discovery.k8s.io/v1/namespaces/gpu-monitoring/endpointslices",
        ),
    ],
)
async def test_lists_are_as_recorded(
    session: ClientSession, recordings: Recordings, name: str, path: str
) -> None:
    """A list has a real one's kind, metadata and objects."""
    real, given = recorded(recordings, name), await listed(session, path)
    assert (given.kind, given.stripped()) == (real.kind, real.stripped())
    assert shape(given.metadata) == shape(real.metadata)


async def test_a_bad_selector_is_refused_as_recorded(
    session: ClientSession, recordings: Recordings
) -> None:
    """The Status is the real one, word for word."""
    answer = await get(session, "/api/v1/namespaces/default/pods", labelSelector="app===")
    assert answer.status == 400
    assert answer.body == recorded_status(recordings, "pods-list-bad-selector")


@pytest.mark.parametrize("token", ["garbage", "%", "e30", "W10"])
async def test_a_bad_continue_token_is_refused_as_recorded(
    session: ClientSession, recordings: Recordings, token: str
) -> None:
    """The Status is the real one, except for the decoder's message."""
    answer = await get(session, PODS_PATH, limit="3", **{"continue": token})
    real = recorded_status(recordings, "pods-list-bad-continue")
    assert {**answer.body, "message": ""} == {**real, "message": ""}
    opening = "invalid continue token: continue key is not valid: "
    assert str(answer.body["message"]).startswith(opening)
    assert str(real["message"]).startswith(opening)


async def test_an_expired_watch_is_refused_as_recorded(recordings: Recordings) -> None:
    """A version before the history is 410 in a 200 stream, which then ends."""
    async with KubernetesAPI() as api, ClientSession(api.url) as plain:
        for name in "abcd":
            api.apply(PODS, {"metadata": {"name": name}})
        api.faults.expire_versions()
        async with watching(plain, resourceVersion="1") as watch:
            assert await watch.next() == recorded_events(recordings, "pods-watch-expired")[0]
            with pytest.raises(StopAsyncIteration):
                await watch.next()


async def test_watch_events_are_as_recorded(
    api: KubernetesAPI, session: ClientSession, recordings: Recordings
) -> None:
    """Replayed real changes arrive in order, with the objects of a real watch."""
    version = str(api.store.version)
    async with watching(session, resourceVersion=version, allowWatchBookmarks="true") as watch:
        for real in recorded_events(recordings, "pods-watch"):
            obj = as_object(real["object"])
            match real["type"]:
                case "DELETED":
                    api.delete(PODS, "default", str(metadata(obj)["name"]))
                case "ADDED" | "MODIFIED":
                    api.apply(PODS, obj)
            event = await watch.next()
            while event["type"] == "BOOKMARK" != real["type"]:
                event = await watch.next()
            versions = str(api.store.version), metadata(obj)["resourceVersion"]
            assert shape(event) == shape(real)
            assert json.dumps(event).replace(f'"{versions[0]}"', f'"{versions[1]}"') == json.dumps(
                real
            )
