"""The identities that a front proxy sends in headers: pure parsing.

The rules are those of k8s.io/apiserver's pkg/authentication/request/headerrequest. The caller
checks first that the peer is allowed to send identities.
"""

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from metrics_server.auth.identity import User
from metrics_server.errors import BadRequestError

_HEX = frozenset("0123456789abcdef")

Lines = tuple[tuple[str, str], ...]
"""Headers: lower-case names, and values, in the order received."""


class RequestHeaderConfig(Struct, frozen=True, dict=True):
    """Which headers carry an identity, and who may send them; header names in any case.

    Attributes:
        username_headers: --requestheader-username-headers; the first non-empty one counts.
        group_headers: --requestheader-group-headers; all of them count.
        extra_headers_prefixes: --requestheader-extra-headers-prefix.
        uid_headers: --requestheader-uid-headers; the first non-empty one counts.
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
        """The prefixes of the names of the headers to read, in lower case."""
        names = (
            *self.username_headers,
            *self.group_headers,
            *self.extra_headers_prefixes,
            *self.uid_headers,
        )
        return tuple(name.lower() for name in names)

    def allows(self, common_name: str) -> bool:
        """Whether a peer whose certificate has this common name may send identities."""
        return not self.allowed_names or common_name in self.allowed_names


def identity_lines(config: RequestHeaderConfig, headers: Iterable[tuple[str, str]]) -> Lines:
    """Return the headers that can carry an identity.

    Args:
        config: which headers to read.
        headers: every header line of a request, in the order received.
    """
    read = config.read
    # Whitespace around a value is not part of it (RFC 9110, section 5.5).
    return tuple([(low, v.strip(" \t")) for n, v in headers if (low := n.lower()).startswith(read)])


def user_from_lines(config: RequestHeaderConfig, lines: Lines) -> User | None:
    """Return the user that the headers name.

    A header with several values takes several lines: a comma is part of a value.

    Args:
        config: which headers to read.
        lines: as `identity_lines` returns them.

    Returns:
        The user; None without a user name. Groups are in the order of `group_headers`, then of the
        lines; extra is sorted by key.

    Raises:
        BadRequestError: a header is not UTF-8.
    """
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


def _require_text(lines: Lines) -> None:
    """Reject bytes that are not UTF-8, as a review could not contain them."""
    for name, value in lines:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise BadRequestError(
                    f"the header {name} is not UTF-8, so the user in it cannot be authorized"
                ) from None


def _first(lines: Lines, wanted: tuple[str, ...]) -> str:
    """Return the first non-empty value; of a repeated header, only the first line counts.

    Go's Header.Get does the same.
    """
    firsts = dict(reversed(lines))
    return next(filter(None, (firsts.get(name.lower()) for name in wanted)), "")


def _extra(lines: Lines, prefixes: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    extra: defaultdict[str, list[str]] = defaultdict(list)
    for prefix in prefixes:
        start = prefix.lower()
        for name, value in lines:
            if name.startswith(start):
                extra[_extra_key(name[len(start) :])].append(value)
    return tuple((key, tuple(values)) for key, values in sorted(extra.items()))


def _extra_key(encoded: str) -> str:
    """Decode the escapes of a key; return it unchanged if one of them is malformed."""
    if any(len(rest) < 2 or not _HEX.issuperset(rest[:2]) for rest in encoded.split("%")[1:]):  # noqa: PLR2004 - an escape's digits
        return encoded
    try:
        return unquote_to_bytes(encoded).decode()
    except UnicodeError:
        # Go keeps such bytes; they are not UTF-8, so a review could not contain them.
        return encoded
