"""Identities that a front proxy tells in headers: pure reading of them.

The rules are those of k8s.io/apiserver's pkg/authentication/request/headerrequest. Whether the
peer may tell identities is asked elsewhere, before.
"""

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property, lru_cache
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from metrics_server.auth.identity import User
from metrics_server.errors import BadRequestError

_MAX_KEPT_LINES = 256
_MAX_KEPT_CHARACTERS = 8192
_HEX = frozenset("0123456789abcdef")


class RequestHeaderConfig(Struct, frozen=True, dict=True, cache_hash=True):
    """Which headers tell an identity, and who may send them; header names in any case.

    Attributes:
        username_headers: --requestheader-username-headers; the first that is not empty counts.
        group_headers: --requestheader-group-headers; all count.
        extra_headers_prefixes: --requestheader-extra-headers-prefix.
        uid_headers: --requestheader-uid-headers; the first that is not empty counts.
        allowed_names: --requestheader-allowed-names: the common names of the front proxies'
            certificates; empty allows any.
    """

    username_headers: tuple[str, ...] = ()
    group_headers: tuple[str, ...] = ()
    extra_headers_prefixes: tuple[str, ...] = ()
    uid_headers: tuple[str, ...] = ()
    allowed_names: tuple[str, ...] = ()

    @cached_property
    def read(self) -> tuple[str, ...]:
        """What the names of the headers that are read begin with, in lower case."""
        names = (
            *self.username_headers,
            *self.group_headers,
            *self.extra_headers_prefixes,
            *self.uid_headers,
        )
        return tuple(name.lower() for name in names)

    def allows(self, common_name: str) -> bool:
        """Whether a peer whose certificate has this common name may tell identities."""
        return not self.allowed_names or common_name in self.allowed_names


def user_from_headers(
    config: RequestHeaderConfig, headers: Iterable[tuple[str, str]]
) -> User | None:
    """The user that headers tell.

    A header of several values is several lines: a comma belongs to the value.

    Args:
        config: which headers to read.
        headers: all of a request, line by line, in the order they came.

    Returns:
        The user; None where no username is told. Groups are in the order of `group_headers`, then
        of the lines; the extra is sorted by key.

    Raises:
        BadRequestError: it is not UTF-8.
    """
    read = config.read
    # Optional white space around a value is none of it (RFC 9110, section 5.5).
    lines = [(low, v.strip(" \t")) for n, v in headers if (low := n.lower()).startswith(read)]
    # A user of very many groups is read each time, as the bound of what is kept is a count.
    read_user = _known_user if len(lines) <= _MAX_KEPT_LINES and _are_short(lines) else _user
    return read_user(config, tuple(lines))


def _are_short(lines: list[tuple[str, str]]) -> bool:
    return sum([len(name) + len(value) for name, value in lines]) <= _MAX_KEPT_CHARACTERS


def _user(config: RequestHeaderConfig, lines: tuple[tuple[str, str], ...]) -> User | None:
    username = _first(lines, config.username_headers)
    if not username:
        return None
    _require_text(lines)
    return User(
        username,
        uid=_first(lines, config.uid_headers),
        groups=tuple(
            value
            for wanted in config.group_headers
            for name, value in lines
            if value and name == wanted.lower()
        ),
        extra=_extra(lines, config.extra_headers_prefixes),
    )


# The same few callers ask again and again; what else a request has in its head is left out above.
_known_user = lru_cache(maxsize=512)(_user)


def _require_text(lines: tuple[tuple[str, str], ...]) -> None:
    """Refuse what no review could be asked about as it is: bytes that are not UTF-8."""
    for name, value in lines:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise BadRequestError(
                    f"the header {name} is not UTF-8: no review could tell who the user is"
                ) from None


def _first(lines: tuple[tuple[str, str], ...], wanted: tuple[str, ...]) -> str:
    """The first value that is not empty; of a header that is repeated, only the first line counts.

    As Go's Header.Get has it.
    """
    firsts = dict(reversed(lines))
    return next(filter(None, (firsts.get(name.lower()) for name in wanted)), "")


def _extra(
    lines: tuple[tuple[str, str], ...], prefixes: tuple[str, ...]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    extra: defaultdict[str, list[str]] = defaultdict(list)
    for prefix in prefixes:
        start = prefix.lower()
        for name, value in lines:
            if name.startswith(start):
                extra[_extra_key(name[len(start) :])].append(value)
    return tuple((key, tuple(values)) for key, values in sorted(extra.items()))


def _extra_key(encoded: str) -> str:
    """A key with its escapes decoded; as it is where one of them is malformed."""
    if any(len(rest) < 2 or not _HEX.issuperset(rest[:2]) for rest in encoded.split("%")[1:]):  # noqa: PLR2004 - an escape's digits
        return encoded
    try:
        return unquote_to_bytes(encoded).decode()
    except UnicodeError:
        # Go keeps such bytes; they are no text, so no review could be told of them.
        return encoded
