"""How many connections there may be, and which is dropped when there are too many.

A peer is unknown until its certificate is verified, and there are few places for unknown peers:
when they run out, the address with the most connections loses the one that has been idle longest.
So probes get in however many connections others keep open, a flood from elsewhere does not evict a
handshake, and nobody else can take the places of verified peers.
"""

from collections import Counter
from collections.abc import Callable, Iterator


class Place:
    """A connection's place.

    Attributes:
        peer: the address of the peer.
        verified: whether its certificate was verified.
        busy: whether a request is being answered.
        give_up: called when the place is needed for another connection.
    """

    __slots__ = ("busy", "give_up", "peer", "verified")

    def __init__(self, peer: str, give_up: Callable[[], None]) -> None:
        self.peer = peer
        self.verified = False
        self.busy = False
        self.give_up = give_up


class Places:
    """The places of all connections.

    Args:
        unverified: how many connections of unknown peers there may be.
        per_peer: how many of these may come from one address.
        verified: how many connections of verified peers there may be.
    """

    def __init__(self, *, unverified: int, per_peer: int, verified: int) -> None:
        self._max_unverified = unverified
        self._max_per_peer = per_peer
        self._max_verified = verified
        # Both in order of use, the longest idle first.
        self._unverified: dict[Place, None] = {}
        self._verified: dict[Place, None] = {}
        self._per_peer: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self._unverified) + len(self._verified)

    def enter(self, peer: str, give_up: Callable[[], None]) -> Place:
        """A place for a new connection from an address."""
        if self._per_peer[peer] >= self._max_per_peer:
            self._evict(one for one in self._unverified if one.peer == peer)
        elif len(self._unverified) >= self._max_unverified:
            # An address with few connections, such as kube-apiserver's, keeps them.
            (most, _), *_ = self._per_peer.most_common(1)
            self._evict(one for one in self._unverified if one.peer == most)
        place = Place(peer, give_up)
        self._unverified[place] = None
        self._per_peer[peer] += 1
        return place

    def verify(self, place: Place) -> bool:
        """The peer's certificate is verified; False if there is no place for another."""
        if len(self._verified) >= self._max_verified:
            idle = next((one for one in self._verified if not one.busy), None)
            if idle is None:
                return False
            self._remove(idle)
            idle.give_up()
        self._remove(place)
        place.verified = True
        self._verified[place] = None
        return True

    def rest(self, place: Place) -> None:
        """A request of the connection was answered just now."""
        place.busy = False
        places = self._verified if place.verified else self._unverified
        if place in places:
            del places[place]
            places[place] = None

    def leave(self, place: Place) -> None:
        """The connection is closed."""
        self._remove(place)

    def _evict(self, candidates: Iterator[Place]) -> None:
        """Evict one of the unknown connections, preferably an idle one."""
        first = next(candidates)
        victim = first
        if first.busy:
            victim = next((one for one in candidates if not one.busy), first)
        self._remove(victim)
        victim.give_up()

    def _remove(self, place: Place) -> None:
        if self._verified.pop(place, place) is None:
            return
        if self._unverified.pop(place, place) is None:
            self._per_peer[place.peer] -= 1
            if not self._per_peer[place.peer]:
                del self._per_peer[place.peer]
