"""No single peer delays others."""

import re
from pathlib import Path

import pytest

from tests.reliability.attacks import Peer
from tests.reliability.driver import ASKED, measure
from tests.reliability.peers import PEERS

DOCUMENT = Path("docs/reliability.md")
MEMORY_LIMIT = 640 * 1024 * 1024  # from the manifest


def seconds_of(peer: Peer) -> float:
    """How long a peer is active: until many connections are open, or scrapes have timed out."""
    return 1 if peer.connections > 100 or peer.behave else 0.4


def bound_of(peer: Peer) -> float:
    """How many seconds an answer may take.

    In so short a time the longest counts, and connections are accepted in order: behind 2,000
    that came at once, one may wait for more than a second.
    """
    return 2 if peer.connections > 1000 else 1


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=[peer.name for peer in PEERS])
async def test_others_do_not_wait(tmp_path: Path, peer: Peer) -> None:
    """Other callers' answers come soon, and memory is bounded."""
    row = await measure(peer, tmp_path, seconds_of(peer))
    assert all(row.longest[name] < bound_of(peer) for name in ASKED), row
    assert row.peak < MEMORY_LIMIT


def test_the_document_has_every_peer() -> None:
    """The table has a row for each, in order."""
    named = re.findall(r"^\| `([a-z-]+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    assert named == [peer.name for peer in PEERS]
