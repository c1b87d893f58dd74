import json
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.auth.identity import User
from metrics_server.auth.request_header import (
    RequestHeaderConfig,
    identity_lines,
    user_from_lines,
)
from tests.support.data import RECORDINGS

Lines = list[tuple[str, str]]

CONFIG = RequestHeaderConfig(
    username_headers=("X-Remote-User",),
    group_headers=("X-Remote-Group",),
    extra_headers_prefixes=("X-Remote-Extra-",),
    uid_headers=("X-Remote-Uid",),
    allowed_names=("front-proxy-client",),
)
RECORDED = RECORDINGS / "aggregator.jsonl"
# The characters that a header's name may have unescaped, without the percent sign.
TOKEN = "!#$&'*+-.^_`|~"  # noqa: S105 - a rule of HTTP

# Valid header values: no control characters, no white space around them.
values = st.text(st.characters(exclude_categories=["Cs", "Cc"])).map(lambda text: text.strip(" \t"))
filled = values.filter(bool)
# Keys are lower case, as client-go requires.
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(
    lambda text: "".join(c.lower() if c.isascii() else c for c in text)
)
users = st.builds(
    User,
    filled,
    uid=values,
    groups=st.lists(filled).map(tuple),
    extra=st.dictionaries(keys, st.lists(values, min_size=1).map(tuple), max_size=4).map(
        lambda extra: tuple(sorted(extra.items()))
    ),
)


def user_from_headers(
    config: RequestHeaderConfig, headers: Iterable[tuple[str, str]]
) -> User | None:
    """The user named by all of a request's headers."""
    return user_from_lines(config, identity_lines(config, headers))


def told(user: User) -> Lines:
    """The headers in which kube-apiserver's aggregator sends a user."""
    return [
        ("X-Remote-User", user.name),
        *([("X-Remote-Uid", user.uid)] if user.uid else []),
        *(("X-Remote-Group", group) for group in user.groups),
        *(
            (f"X-Remote-Extra-{quote(key, safe=TOKEN)}", value)
            for key, several in user.extra
            for value in several
        ),
    ]


@pytest.mark.slow
@given(users, users)
def test_no_two_users_are_taken_for_one(one: User, other: User) -> None:
    """Users that differ in anything, even one group or one character of a key, stay different."""
    first, second = user_from_headers(CONFIG, told(one)), user_from_headers(CONFIG, told(other))

    assert first == one
    assert second == other
    assert (first == second) == (told(one) == told(other))


@given(
    user=users,
    case=st.sampled_from([str.lower, str.upper, str.title]),
    others=st.lists(st.tuples(st.sampled_from(["Accept", "X-Remote", "X-Forwarded-For"]), values)),
)
def test_case_and_other_headers_do_not_matter(
    user: User, case: Callable[[str], str], others: Lines
) -> None:
    """Header names are case-insensitive; other headers change nothing."""
    lines = [(case(name), value) for name, value in told(user)]

    assert user_from_headers(CONFIG, [*others, *lines, *others]) == user


@given(st.lists(filled), st.lists(filled))
def test_a_list_in_one_line_is_one_group(one: list[str], other: list[str]) -> None:
    """Each line is one group, even with a comma in it."""
    lines = [("X-Remote-User", "a"), *(("X-Remote-Group", g) for g in [*one, *other])]
    joined = [("X-Remote-User", "a"), ("X-Remote-Group", ",".join(["x", *one]))]

    several, single = user_from_headers(CONFIG, lines), user_from_headers(CONFIG, joined)

    assert several is not None
    assert several.groups == (*one, *other)
    assert single is not None
    assert single.groups == (",".join(["x", *one]).strip(" \t"),)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([("X-Remote-User", "a"), ("X-Remote-User", "b")], "a"),
        ([("x-remote-user", "a"), ("X-Other-User", "b")], "a"),
        ([("X-Other-User", "b"), ("X-Remote-User", "a")], "a"),
        ([("X-Remote-User", ""), ("X-Other-User", "b")], "b"),
        ([("X-Remote-User", ""), ("X-Remote-User", "a"), ("X-Other-User", "b")], "b"),
        ([("X-Remote-User", " a, b ")], "a, b"),
        ([("X-Remote-User", "")], None),
        ([("X-Remote-User", " \t ")], None),
        ([("X-Remote-Group", "system:masters"), ("X-Remote-Uid", "1")], None),
        ([], None),
    ],
)
def test_the_first_username_counts(lines: Lines, expected: str | None) -> None:
    """Headers are tried in the configured order; without a user name there is no user."""
    config = RequestHeaderConfig(username_headers=("X-Remote-User", "X-Other-User"))

    user = user_from_headers(config, lines)

    assert (user.name if user else None) == expected


def test_every_group_header_counts() -> None:
    """Groups are ordered by header, then by line; blank ones are left out."""
    config = RequestHeaderConfig(("X-Remote-User",), ("X-Remote-Group", "X-More"))
    lines = [
        ("X-More", "c"),
        ("X-Remote-Group", "b"),
        ("X-Remote-Group", ""),
        ("X-Remote-User", "u"),
        ("x-remote-group", "a"),
    ]

    assert user_from_headers(config, lines) == User("u", groups=("b", "a", "c"))


@pytest.mark.parametrize(
    ("suffix", "key"),
    [
        ("Scopes", "scopes"),
        (
            "Authentication.kubernetes.io%2fCredential-Id",
            "authentication.kubernetes.io/credential-id",
        ),
        ("%C3%A4", "ä"),
        ("a%25b", "a%b"),
        ("a+b", "a+b"),
        ("%", "%"),
        ("a%2", "a%2"),
        ("a%2f%zz", "a%2f%zz"),
        ("%2f%ff", "%2f%ff"),
        ("", ""),
    ],
)
def test_keys_of_the_extra_are_decoded(suffix: str, key: str) -> None:
    """A key is lower case with its escapes decoded: all of them, or none if one is malformed."""
    lines = [("X-Remote-User", "u"), (f"X-Remote-Extra-{suffix}", "v")]

    assert user_from_headers(CONFIG, lines) == User("u", extra=((key, ("v",)),))


def test_values_of_one_key_come_together() -> None:
    """A key's values are ordered by prefix, then by line; an empty one is a value."""
    config = RequestHeaderConfig(("X-Remote-User",), extra_headers_prefixes=("X-A-", "X-B-"))
    lines = [
        ("X-B-Key", "4"),
        ("X-Remote-User", "u"),
        ("X-A-Key", "1, 2"),
        ("x-a-k%65y", ""),
        ("X-A-Key", "3"),
    ]

    assert user_from_headers(config, lines) == User("u", extra=(("key", ("1, 2", "", "3", "4")),))


def test_what_is_not_configured_is_not_read() -> None:
    """Without configured header names, groups, uid and extra are empty."""
    user = User("u", uid="1", groups=("g",), extra=(("k", ("v",)),))

    assert user_from_headers(RequestHeaderConfig(("X-Remote-User",)), told(user)) == User("u")
    assert user_from_headers(RequestHeaderConfig(), told(user)) is None


def test_recorded_requests_give_their_users() -> None:
    """Every recorded request of a real front proxy has a user."""
    requests = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    proxied = [r["headers"] for r in requests if "front-proxy-client" in r["client_cert"]]

    found = {user_from_headers(CONFIG, headers) for headers in proxied}

    controller = User(
        "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
        uid="1f3ef96f-bb28-44f0-8999-a33746f12df9",
        groups=(
            "system:serviceaccounts",
            "system:serviceaccounts:kube-system",
            "system:authenticated",
        ),
        extra=(
            (
                "authentication.kubernetes.io/credential-id",
                ("JTI=6700f7ef-4885-4f3a-bb29-2eecb749ef71",),
            ),
        ),
    )
    assert None not in found
    assert controller in found
    assert User("system:kube-aggregator", groups=("system:masters",)) in found
    assert User("system:aggregator") in found


@pytest.mark.parametrize(
    ("names", "name", "allowed"),
    [((), "anyone", True), (("a", "b"), "b", True), (("a",), "A", False), (("a",), "", False)],
)
def test_allowed_names(names: Sequence[str], name: str, allowed: bool) -> None:  # noqa: FBT001 - a table's column
    """An empty list allows any name; others allow only their own names, with the same case."""
    assert RequestHeaderConfig(allowed_names=tuple(names)).allows(name) is allowed
