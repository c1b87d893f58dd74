"""The faults of a Kubernetes API, and the server's behavior in each."""

from msgspec import Struct

from tests.faults.api_behaviours import (
    EXPIRED,
    HALF,
    LONGEST_WAIT,
    OLD,
    PATHS,
    RETRY_AFTER,
    UNKNOWN,
    UNREACHABLE,
    added,
    answers_garbage,
    breaks_watches,
    drops_watches,
    expires_pages,
    hangs,
    hangs_at_lists,
    lists_garbage,
    lists_odd_objects,
    refuses,
    refuses_watches,
    repeats_events,
    resets,
    silences_watches,
    watch_begins_with,
    watch_sends,
)
from tests.faults.api_proxy import Fault


class ApiFault(Struct, frozen=True):
    """A fault of the Kubernetes API, and its effects.

    Meanwhile pod a, at 20 %, is deleted; pod b, at 80 %, stays.

    Attributes:
        id: a short name.
        fault: what the API does.
        behave: does that; None for an API that refuses connections.
        at_start: the last words of a server that starts meanwhile and exits; or what the HPA gets
            from it, if it does start.
        answer: what the HPA gets after the server was out of touch for three minutes, or would have
            been. Until then it gets the value of the last known pods.
        logged: by watched path, how many warnings the fault causes, however long it lasts.
        besides: the other warnings that it causes.
        times: how often it happens before its warnings are counted.
        wait: the minimum time between two attempts, in seconds.
    """

    id: str
    fault: str
    behave: Fault | None
    at_start: str
    answer: str
    logged: frozenset[str] = PATHS
    besides: tuple[str, ...] = ()
    times: int = 12
    wait: float = 0


FAULTS = (
    ApiFault(
        "down",
        "refuses connections",
        None,
        at_start=UNREACHABLE + "Connection refused",
        answer=OLD,
    ),
    ApiFault(
        "resetting",
        "resets every connection",
        resets,
        at_start=UNREACHABLE + "Connection reset by peer",
        answer=OLD,
    ),
    ApiFault(
        "hanging",
        "accepts, and never answers",
        hangs,
        at_start=UNREACHABLE + "it did not answer in time",
        answer=OLD,
        times=6,
    ),
    ApiFault(
        "429",
        "answers 429",
        refuses(429, "too many requests"),
        at_start="too many requests",
        answer=OLD,
    ),
    ApiFault(
        "429-retry-after",
        "answers 429 with Retry-After",
        refuses(429, "too many requests", f"Retry-After: {RETRY_AFTER}\r\n"),
        at_start="too many requests",
        answer=OLD,
        wait=RETRY_AFTER,
    ),
    ApiFault(
        "503-retry-tomorrow",
        "answers 503 with a Retry-After of a day",
        refuses(503, "starting", "Retry-After: 86400\r\n"),
        at_start="starting",
        answer=OLD,
        wait=LONGEST_WAIT,
    ),
    ApiFault(
        "500",
        "answers 500",
        refuses(500, "etcdserver: request timed out"),
        at_start="etcdserver: request timed out",
        answer=OLD,
    ),
    ApiFault(
        "garbage",
        "answers everything by a page of HTML",
        answers_garbage,
        at_start="the ConfigMap kube-system/extension-apiserver-authentication cannot be used: "
        "JSON is malformed: invalid character (byte 0)",
        answer=OLD,
    ),
    ApiFault(
        "garbage-list",
        "cuts watches, and sends lists that are none",
        lists_garbage,
        at_start=UNKNOWN,
        answer=OLD,
    ),
    ApiFault(
        "hanging-list",
        "cuts watches, and never answers lists",
        hangs_at_lists,
        at_start=UNKNOWN,
        answer=OLD,
        times=6,
    ),
    ApiFault(
        "odd-objects",
        "answers watches by 410, and sends lists with objects that are no pods",
        lists_odd_objects,
        at_start="50",
        answer="80",
        besides=("malformed objects skipped",),
    ),
    ApiFault(
        "expired-page",
        "cuts watches, and lets the continue token of each list expire",
        expires_pages,
        at_start=UNKNOWN,
        answer=OLD,
    ),
    ApiFault(
        "dropped-watches",
        "cuts each watch after a second",
        drops_watches,
        at_start="50",
        answer="80",
        logged=frozenset(),
    ),
    ApiFault(
        "silent-watches",
        "opens watches, and sends nothing in them",
        silences_watches,
        at_start="50",
        answer="80",
        times=6,
    ),
    ApiFault(
        "429-watch",
        "answers watches by 429",
        refuses_watches(429, "too many requests"),
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "500-watch",
        "answers watches by 500",
        refuses_watches(500, "no leader"),
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "410-watch",
        "answers watches by 410",
        refuses_watches(410, "too old resource version"),
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "410-event",
        "sends an ERROR event of 410 in each watch",
        watch_sends(b'{"type":"ERROR","object":%s}\n' % EXPIRED),
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "half-event",
        "sends half an event, and ends the watch",
        watch_sends(HALF),
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "half-event-cut",
        "sends half an event, and cuts the connection",
        watch_sends(HALF, end=b""),
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "garbage-event",
        "sends what is no event in each watch",
        watch_sends(b"\x00\xff{]\n"),
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "garbage-late",
        "sends what is no event in each watch, after a while",
        breaks_watches,
        at_start="50",
        answer="80",
    ),
    ApiFault(
        "added-twice",
        "sends each event twice",
        repeats_events,
        at_start="50",
        answer="80",
        logged=frozenset(),
        times=3,
    ),
    ApiFault(
        "version-back",
        "sends an event of long ago in each watch of pods",
        watch_begins_with(added("a", 1)),
        at_start="50",
        answer="80",
        logged=frozenset({"/api/v1/pods"}),
    ),
)
