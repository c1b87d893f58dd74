"""A stream that does not deliver everything that exists is followed by a list."""

from pathlib import Path

import pytest

import metrics_server.kube.initial
import metrics_server.kube.reflector
from metrics_server.kube.pod_stores import PodStore
from metrics_server.kube.reflector import Reflector
from tests.support.initial_events import END, line, streaming, versioned
from tests.support.reflecting import PATH, Naps, decode, names, running
from tests.support.waiting import until


async def test_a_stream_that_is_silent_is_given_up(
    store: PodStore, naps: Naps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may hold back a stream; the pods do not become stale."""
    monkeypatch.setattr(metrics_server.kube.initial, "_PAUSE_SECONDS", 0.1)
    async with streaming("", tmp_path) as client:
        reflector = Reflector(client, PATH, decode, store, sleep=naps)
        async with running(reflector):
            await until(reflector.synced.is_set)
            assert names(store) == {"listed"}


@pytest.mark.parametrize(("limit", "kind"), [("_SECONDS", "ADDED"), ("_PAUSE_SECONDS", "MODIFIED")])
async def test_a_stream_that_never_ends_what_exists_is_given_up(  # noqa: PLR0917 - fixtures
    store: PodStore,
    naps: Naps,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    kind: str,
) -> None:
    """If existing objects come without marking their end, changes follow endlessly."""
    monkeypatch.setattr(metrics_server.kube.initial, limit, 0.2)
    async with streaming(line(kind, versioned("a", 5)), tmp_path, every=0.01) as client:
        reflector = Reflector(client, PATH, decode, store, sleep=naps)
        async with running(reflector):
            await until(reflector.synced.is_set)
            assert names(store) == {"listed"}


@pytest.mark.slow
async def test_a_stream_with_pauses_is_read_to_its_end(
    store: PodStore, naps: Naps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream only has to keep going: a large cluster has much to send."""
    monkeypatch.setattr(metrics_server.kube.initial, "_PAUSE_SECONDS", 2)
    text = "".join(line("ADDED", versioned(f"pod-{number}", 5)) for number in range(5)) + END
    async with streaming(text, tmp_path, every=0.6) as client:
        reflector = Reflector(client, PATH, decode, store, sleep=naps)
        async with running(reflector):
            await until(reflector.synced.is_set)
            assert len(store) == 5


async def test_pods_are_listed_where_a_proxy_holds_streams_back(
    store: PodStore, naps: Naps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may send not even headers before it has the whole answer."""
    monkeypatch.setattr(metrics_server.kube.reflector, "_OPENING_SECONDS", 0.1)
    async with streaming(None, tmp_path) as client:
        reflector = Reflector(client, PATH, decode, store, sleep=naps)
        async with running(reflector):
            await until(reflector.synced.is_set)
            assert names(store) == {"listed"}
