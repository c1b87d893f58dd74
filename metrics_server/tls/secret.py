"""The encoding of a `State` in the data of a Secret."""

from collections.abc import Mapping
from datetime import datetime

from metrics_server.tls.authority import Authority, KeyPair
from metrics_server.tls.bundle import NextAuthority, PreviousAuthority, State
from metrics_server.tls.pairs import check_match, utc_text, validity

_AUTHORITY = ("ca.crt", "ca.key")
_SERVING = ("tls.crt", "tls.key")
_NEXT = ("next-ca.crt", "next-ca.key")
_NEXT_PUBLISHED = "next-ca.published"
_PREVIOUS = "previous-ca.crt"
_PREVIOUS_UNTIL = "previous-ca.until"
# Plausible times: they can be converted to any time zone, and hours can be added to them.
_FIRST_YEAR, _LAST_YEAR = 1970, 9000

KEYS = frozenset({*_AUTHORITY, *_SERVING, *_NEXT, _NEXT_PUBLISHED, _PREVIOUS, _PREVIOUS_UNTIL})


def to_data(state: State) -> dict[str, bytes]:
    """Encode a state as the data of a Secret: those of the KEYS that have a value."""
    data = {**_of_pair(_AUTHORITY, state.authority), **_of_pair(_SERVING, state.serving)}
    if state.next is not None:
        data |= _of_pair(_NEXT, state.next.pair)
        if state.next.published is not None:
            data[_NEXT_PUBLISHED] = utc_text(state.next.published).encode()
    if state.previous is not None:
        data[_PREVIOUS] = state.previous.certificate
        data[_PREVIOUS_UNTIL] = utc_text(state.previous.until).encode()
    return data


def from_data(data: Mapping[str, bytes]) -> State | None:
    """Decode the state in the data of a Secret; None if it has none of the KEYS.

    Raises:
        ValueError: it is not a valid state; the message is the rest of a sentence.
    """
    if not any(data.get(key) for key in KEYS):
        return None
    authority, serving = _pair(data, _AUTHORITY), _pair(data, _SERVING)
    Authority.load(authority)
    check_match(serving)
    following = previous = None
    if _NEXT[0] in data:
        published = _time(data, _NEXT_PUBLISHED) if _NEXT_PUBLISHED in data else None
        following = NextAuthority(_pair(data, _NEXT), published)
        Authority.load(following.pair)
    if _PREVIOUS in data:
        previous = PreviousAuthority(_value(data, _PREVIOUS), _time(data, _PREVIOUS_UNTIL))
        validity(previous.certificate)
    return State(authority, serving, following, previous)


def _of_pair(keys: tuple[str, str], pair: KeyPair) -> dict[str, bytes]:
    return dict(zip(keys, (pair.certificate, pair.key), strict=True))


def _pair(data: Mapping[str, bytes], keys: tuple[str, str]) -> KeyPair:
    certificate, key = keys
    return KeyPair(_value(data, certificate), _value(data, key))


def _value(data: Mapping[str, bytes], key: str) -> bytes:
    value = data.get(key)
    if not value:
        raise ValueError(f"it has no {key}")
    return value


def _time(data: Mapping[str, bytes], key: str) -> datetime:
    time = datetime.fromisoformat(_value(data, key).decode())
    if time.tzinfo is None:
        raise ValueError(f"{key} has no time zone")
    if not _FIRST_YEAR <= time.year <= _LAST_YEAR:
        raise ValueError(f"{key} is in the year {time.year}")
    return time
