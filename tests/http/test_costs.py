"""No work on a caller's input grows faster than its length.

This counts operations, not seconds: Python lines and calls, including C functions.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

import pytest

from metrics_server.api.app import _is_known
from metrics_server.api.discovery import build_discovery
from metrics_server.api.external_metrics import _question
from metrics_server.api.groups import external_metrics_group
from metrics_server.api.health import HealthChecks
from metrics_server.api.negotiation import Offer, _negotiate, negotiate
from metrics_server.api.requests import metric_request
from metrics_server.api.types import GROUP_VERSION
from metrics_server.auth.identity import User
from metrics_server.auth.request_header import (
    RequestHeaderConfig,
    identity_lines,
    user_from_lines,
)
from metrics_server.auth.request_info import attributes_of
from metrics_server.auth.tokens import bearer_token
from metrics_server.errors import BadRequestError, RequestError
from metrics_server.http.paths import decoded
from metrics_server.kube.labels import _parse, parse_selector
from metrics_server.measuring.samples import Question

if TYPE_CHECKING:
    from _typeshed import TraceFunction

OFFERS = (Offer(), Offer(kind="Table", group="meta.k8s.io", version="v1"))
CONFIG = RequestHeaderConfig(
    username_headers=("X-Remote-User",),
    group_headers=("X-Remote-Group",),
    extra_headers_prefixes=("X-Remote-Extra-",),
    uid_headers=("X-Remote-Uid",),
)
DOCUMENT = build_discovery([external_metrics_group(["gpu_utilization"])]).version


def named(headers: list[tuple[str, str]]) -> User | None:
    """The user in the headers."""
    return user_from_lines(CONFIG, identity_lines(CONFIG, headers))


def operations(call: Callable[[], object]) -> int:
    """The number of lines and calls in a call; an exception counts as a result."""
    count = 0

    def trace(_: FrameType, event: str, __: object) -> "TraceFunction":
        nonlocal count
        count += event == "line"
        return trace

    def profile(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.gettrace()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        with suppress(RequestError):
            call()
    finally:
        sys.setprofile(None)
        sys.settrace(before)
    return count


def lines(name: str, value: str, n: int) -> list[tuple[str, str]]:
    """This many header lines."""
    return [("X-Remote-User", "u"), *((name.replace("#", str(i)), value) for i in range(n))]


def asked(query: str) -> Question:
    """The question in a query."""
    request = metric_request(f"/apis/{GROUP_VERSION}/namespaces/default/m", query, None)
    assert request is not None
    return _question(request, "m")


WAYS: dict[str, Callable[[int], object]] = {
    "ranges that are refused, and that are wanted": lambda n: _negotiate(
        "x/y;q=0," * n + "application/json;q=0," + "*/*," * n, OFFERS
    ),
    "parameters of a range": lambda n: _negotiate("a/b" + ";c=d" * n, OFFERS),
    "commas": lambda n: _negotiate("," * n, OFFERS),
    "digits of a quality": lambda n: _negotiate("*/*;q=0." + "1" * n, OFFERS),
    "a query of many parameters": lambda n: asked("a=b&" * n),
    "a query that is all escapes": lambda n: asked("labelSelector=" + "%41" * n),
    "field selectors": lambda n: asked("fieldSelector=" + "metadata.namespace=default," * n),
    "blanks in a field selector": lambda n: asked(f"fieldSelector={' ' * n}="),
    "parts of a path": lambda n: attributes_of("GET", "/a" * n, ""),
    "slashes at its end": lambda n: attributes_of("GET", "/a" + "/" * n, ""),
    "escapes in a path": lambda n: decoded("%41" * n),
    "watches in a query": lambda n: attributes_of(
        "GET", "/apis/g/v1/namespaces/n/m", "wat%63=1&" * n
    ),
    "groups": lambda n: named(lines("X-Remote-Group", "g", n)),
    "extra": lambda n: named(lines("X-Remote-Extra-#%41%zz", "g", n)),
    "one extra": lambda n: named(lines("X-Remote-Extra-a", "g", n)),
    "escapes in the name of an extra": lambda n: named(
        [("X-Remote-User", "u"), ("X-Remote-Extra-" + "%41" * n, "v")]
    ),
    "other headers": lambda n: bearer_token(lines("X-#", "g", n)),
    "entity tags": lambda n: _is_known('W/"x",' * n, DOCUMENT),
    "checks that are excluded": lambda n: HealthChecks().answer(
        "livez", "", [("exclude", f"check-{i}") for i in range(n)]
    ),
    "requirements": lambda n: _parse(",".join(f"k{i}" for i in range(n))),
    "values": lambda n: _parse(f"k in ({','.join(f'v{i}' for i in range(n))})"),
    "empty values": lambda n: _parse(f"k in ({',' * n})"),
    "exclamation marks": lambda n: _parse("!" * n),
    "parts of a key": lambda n: _parse("a/" * n),
    "labels of a prefix": lambda n: _parse("a." * n + "/x"),
    "a long key": lambda n: _parse("a" * n + "-"),
}


@pytest.mark.parametrize("way", WAYS)
def test_twice_as_long_is_twice_the_work(way: str) -> None:
    """With a margin for fixed work and for sorting."""
    for n in (50, 200, 800):
        once, twice = operations(lambda: WAYS[way](n)), operations(lambda: WAYS[way](2 * n))  # noqa: B023 - it is called at once
        assert twice <= 2.3 * once + 100, (way, n, once, twice)


REFUSED: dict[str, tuple[str, Callable[[str], object]]] = {
    "ranges": ("application/json;q=0,", lambda text: negotiate(text, OFFERS)),
    "an accept header of one range": (";c=d", lambda text: negotiate("a/b" + text, OFFERS)),
    "parameters": ("a=b&", asked),
    "a selector": ("k123456,", parse_selector),
    "entity tags": ('W/"x",', lambda text: _is_known(text, DOCUMENT)),
}


@pytest.mark.parametrize("way", REFUSED)
def test_beyond_a_bound_it_is_no_work_at_all(way: str) -> None:
    """What no client sends is rejected before it is read."""
    piece, call = REFUSED[way]
    text = piece * 40_000
    assert operations(lambda: call(text)) < 100


def test_requirements_are_bounded() -> None:
    """Each is checked for every pod in a namespace."""
    parse_selector(",".join(f"k{i}" for i in range(64)))
    with pytest.raises(BadRequestError, match="more than 64 requirements"):
        parse_selector(",".join(f"k{i}" for i in range(65)))
