"""An exporter's faults, and the error for each."""

import gzip

from msgspec import Struct

from tests.faults.exporters import (
    BEFORE,
    PART,
    Behave,
    drips,
    floods,
    hangs_after,
    resets_after,
    response,
    sends,
)
from tests.support.exporters import page


class Fault(Struct, frozen=True):
    """An exporter's fault, and its effects.

    Attributes:
        id: a short name.
        fault: what the exporter does.
        answer: what the HPA gets: the message of the 503, after "0 of 2 pods have a measurement: "
            and with URL for the exporter's.
        behave: does that; None for an exporter that refuses connections.
        logged: the warnings that it causes, however often it is asked, besides one line for each
            question without a measurement.
    """

    id: str
    fault: str
    answer: str
    behave: Behave | None
    logged: tuple[str, ...] = ("scrape failed",)


LATE = "exporter URL did not answer within 0.2 s"
SHORT = "exporter URL cut its page short"
NOT_HTTP = "exporter URL did not send valid HTTP: it does not begin with HTTP/"
LONGER = "exporter URL did not send valid HTTP: it is longer than it says"

FAULTS = (
    Fault(
        "refusing",
        "refuses connections",
        "exporter URL could not be reached: Connection refused",
        None,
    ),
    Fault("hanging", "accepts, and never answers", LATE, hangs_after(b"")),
    Fault(
        "hanging-head",
        "stops in the middle of the head",
        LATE,
        hangs_after(b"HTTP/1.1 200 OK\r\nContent-"),
    ),
    Fault(
        "hanging-body",
        "stops in the middle of the page",
        LATE,
        hangs_after(response(PART, length=len(BEFORE))),
    ),
    Fault("dripping", "sends a byte at a time, for longer than the timeout", LATE, drips),
    Fault(
        "closing",
        "closes the connection without an answer",
        "exporter URL closed the connection without answering",
        sends(b""),
    ),
    Fault(
        "resetting-head",
        "resets the connection in place of an answer",
        "exporter URL could not be reached: Connection reset by peer",
        resets_after(b""),
    ),
    Fault(
        "resetting-body",
        "resets the connection in the middle of the page",
        SHORT,
        resets_after(response(PART, length=len(BEFORE))),
    ),
    Fault(
        "redirecting",
        "redirects to another page",
        "exporter URL answered HTTP 302",
        sends(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"),
    ),
    Fault(
        "failing",
        "answers 500, with a page",
        "exporter URL answered HTTP 500",
        sends(response(BEFORE).replace(b"200 OK", b"500 Oops")),
    ),
    Fault(
        "length-too-long",
        "announces a longer page than it sends, and closes",
        SHORT,
        sends(response(BEFORE, length=len(BEFORE) + 100)),
    ),
    Fault(
        "length-too-long-open",
        "announces a longer page than it sends, and keeps the connection",
        LATE,
        hangs_after(response(BEFORE, length=len(BEFORE) + 100)),
    ),
    Fault(
        "length-too-short",
        "announces a shorter page than it sends, which ends within a row",
        LONGER,
        sends(response(BEFORE, length=len(PART) + 10)),
    ),
    Fault(
        "length-too-short-line",
        "announces a shorter page than it sends, which ends with a row",
        LONGER,
        sends(response(BEFORE, length=len(PART))),
    ),
    Fault(
        "length-of-none",
        "announces an empty page, and sends one",
        LONGER,
        sends(response(BEFORE, length=0)),
    ),
    Fault(
        "without-length",
        "sends a page that ends where the connection does",
        "exporter URL sent a page without a length, so a truncated one would look complete",
        sends(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + PART),
    ),
    Fault(
        "compressed",
        "compresses its page, though asked not to",
        "exporter URL sent a compressed page (gzip)",
        sends(response(gzip.compress(BEFORE), headers=b"Content-Encoding: gzip\r\n")),
    ),
    Fault(
        "compressed-secretly",
        "compresses its page, and does not say so",
        "exporter URL sent bytes that are not text",
        sends(response(gzip.compress(BEFORE))),
    ),
    Fault(
        "huge",
        "sends a page without end",
        "exporter URL sent more than 65536 bytes (exporters.maxPageBytes)",
        floods,
    ),
    Fault(
        "many-lines",
        "sends more lines than a page may have",
        "exporter URL sent more than 500 lines (exporters.maxPageLines)",
        sends(response(b"x 1\n" * 501)),
    ),
    Fault(
        "not-http",
        "sends what is not HTTP",
        NOT_HTTP,
        sends(b"\x15\x03\x01\x00\x02\x02\x16" * 10),
    ),
    Fault(
        "web-page",
        "sends a page of HTML",
        "exporter URL sent text/html, not text/plain",
        sends(response(b"<html>\n").replace(b"text/plain", b"text/html")),
    ),
    Fault(
        "garbage",
        "sends a page of bytes that are not text",
        "exporter URL sent bytes that are not text",
        sends(response(bytes(range(256)) * 20 + b"\n")),
    ),
    Fault(
        "garbage-text",
        "sends a page of text that has no metrics",
        "the exporters answered but gave no value for pods a, b",
        sends(response(b"it works\n" * 20)),
        logged=(),
    ),
    Fault(
        "garbage-values",
        "sends the rows with values that are no percentages",
        "the exporters answered but gave no value for pods a, b",
        sends(response(page({("default", "a"): [150], ("default", "b"): [-5]}).encode())),
        logged=(),
    ),
)
