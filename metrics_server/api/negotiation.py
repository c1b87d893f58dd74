"""Content negotiation: HTTP's Accept header, as the Kubernetes API reads it.

Kubernetes clients request another kind of object through the parameters of a media type, such as
`application/json;as=Table;v=v1;g=meta.k8s.io`, and list their alternatives after it.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct

from metrics_server.common.weight import MAX_KEPT_CHARACTERS
from metrics_server.errors import BadRequestError

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - HTTP's word for a word, no secret
_MEDIA_RANGE = re.compile(rf"({_TOKEN})/({_TOKEN})")
_QUALITY = re.compile(r"0(\.[0-9]{0,9})?|1(\.0{0,9})?|\.[0-9]{1,9}")

MAX_LENGTH = 4096
"""Characters in an Accept header: many times what a browser sends."""
MAX_RANGES = 64
"""Media ranges in an Accept header."""


class Offer(Struct, frozen=True, cache_hash=True):
    """A form in which an answer can be sent.

    Attributes:
        media_type: such as application/json, in lower case.
        kind: the kind of object, unless it is the plain one; the parameter `as`.
        group: the API group of that kind; the parameter `g`.
        version: its version; the parameter `v`.
    """

    media_type: str = "application/json"
    kind: str = ""
    group: str = ""
    version: str = ""

    @property
    def content_type(self) -> str:
        """The Content-Type header of an answer in this form."""
        parameters = {"g": self.group, "v": self.version, "as": self.kind}
        return self.media_type + "".join(f";{k}={v}" for k, v in parameters.items() if v)


class _Range(Struct, frozen=True):
    """One entry of an Accept header; `media_type` may have wildcards."""

    media_type: str
    kind: str
    group: str
    version: str
    quality: float

    def covers(self, offer: Offer) -> bool:
        type_, _, subtype = self.media_type.partition("/")
        return (
            (self.kind, self.group, self.version) == (offer.kind, offer.group, offer.version)
            and type_ in ("*", offer.media_type.partition("/")[0])
            and subtype in ("*", offer.media_type.partition("/")[2])
        )


def negotiate(accept: str | None, offers: Sequence[Offer]) -> Offer | None:
    """The offer that suits the client best; None if none does (HTTP 406).

    An entry with `as`, `g` or `v` matches an offer with exactly these; one without, including
    wildcards, matches a plain offer. Where qualities are equal, the client's order decides. Other
    parameters and malformed entries are ignored.

    Args:
        accept: the Accept header's value; None or "" accepts anything.
        offers: in order of preference.

    Raises:
        BadRequestError: the header is longer than `MAX_LENGTH`, or has more than `MAX_RANGES`.
    """
    accept = accept or ""
    if len(accept) <= MAX_KEPT_CHARACTERS:
        return _known(accept, tuple(offers))
    if len(accept) > MAX_LENGTH or accept.count(",") >= MAX_RANGES:
        raise BadRequestError(
            f"the Accept header has {len(accept)} characters and {accept.count(',') + 1} media "
            f"ranges: at most {MAX_LENGTH} and {MAX_RANGES} are accepted"
        )
    return _negotiate(accept, tuple(offers))


def _negotiate(accept: str, offers: tuple[Offer, ...]) -> Offer | None:
    if not accept.strip():
        return next(iter(offers), None)
    ranges = [parsed for entry in accept.split(",") if (parsed := _parse(entry))]
    # A wildcard does not override a type that the client rejects by name.
    refused = [r for r in ranges if not r.quality and "*" not in r.media_type]
    left = [offer for offer in offers if not any(r.covers(offer) for r in refused)]
    wanted = sorted((r for r in ranges if r.quality), key=lambda r: -r.quality)
    for range_ in wanted:
        for offer in left:
            if range_.covers(offer):
                return offer
    return None


# Kubernetes' own clients send a handful of different headers; the bound is for memory.
_known = lru_cache(maxsize=256)(_negotiate)


def _parse(entry: str) -> _Range | None:
    """An entry of an Accept header; None if it is malformed."""
    media_range, *parameters = (part.strip() for part in entry.split(";"))
    if media_range == "*":  # as java.net.HttpURLConnection sends it
        media_range = "*/*"
    if not _MEDIA_RANGE.fullmatch(media_range):
        return None
    values = {}
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        values[name.strip().lower()] = value.strip().strip('"')
    quality = values.get("q", "1")
    if not _QUALITY.fullmatch(quality):
        return None
    return _Range(
        media_type=media_range.lower(),
        kind=values.get("as", ""),
        group=values.get("g", ""),
        version=values.get("v", ""),
        quality=float(quality),
    )
