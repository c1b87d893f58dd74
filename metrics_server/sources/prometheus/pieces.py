"""Splits a long answer of the query API into short ones, which together say the same.

The decoder blocks the interpreter until it is done, 100 ms for an answer of 30 MB. A short one
takes a few milliseconds, and other work can be done between two of them.
"""

import re
from collections.abc import Iterator

from metrics_server.errors import QueryError

PIECE_BYTES = 128 * 1024
"""An answer of up to this length is one piece; others are split where the next series begins."""

MOST_SERIES_BYTES = 256 * 1024
"""Bytes of one series, which is not split: the scraped target chooses its labels."""

_BEGINNING = re.compile(rb'"result"\s*:\s*\[')
# Between two series. Within a string it would be written with backslashes before the quotes, and a
# string that ended with the first quote could not be followed by a letter.
_BETWEEN = re.compile(rb'\}\s*(,)\s*\{\s*"(?:metric|value|histogram)"\s*:')


def split(body: bytes | bytearray) -> Iterator[bytes | bytearray]:
    """Split an answer.

    The first piece is an answer with the last of the series; each other one is a JSON array of
    further series. If the answer is not valid, then at least one of the pieces is not.

    Raises:
        QueryError: it cannot be split into pieces that are short enough.
    """
    longest = PIECE_BYTES + MOST_SERIES_BYTES
    found = None if len(body) <= PIECE_BYTES else _BEGINNING.search(body, 0, PIECE_BYTES)
    if found is None:
        if len(body) > longest:
            raise QueryError(
                "Prometheus's answer is not one of its query API (it begins with something other "
                "than a result); check prometheus.url",
                "not-json",
            )
        yield body
        return
    begin = end = found.end()
    for one in _BETWEEN.finditer(body, max(begin, len(body) - longest)):
        end = one.end(1)
    if len(body) - end > longest:
        raise too_long()
    yield body[:begin] + body[end:]
    while begin < end:
        at = end
        if end - begin > PIECE_BYTES:
            between = _BETWEEN.search(body, begin + PIECE_BYTES, min(end, begin + longest))
            at = between.end(1) if between is not None else end
        if at - begin > longest:
            raise too_long()
        # Without the comma.
        yield b"[" + body[begin : at - 1] + b"]"
        begin = at


def too_long() -> QueryError:
    """Return the error that a series is too long."""
    return QueryError(
        f"Prometheus returned a series whose labels have more than {MOST_SERIES_BYTES} bytes; "
        "leave it out, or aggregate in the query",
        "too-large",
    )
