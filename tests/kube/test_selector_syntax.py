"""The grammar of label selectors, with the API server's messages."""

import json
from urllib.parse import urlsplit

import pytest

from metrics_server.errors import BadRequestError
from metrics_server.kube.labels import MAX_SELECTOR_LENGTH, parse_selector
from tests.support.data import KUBE_API
from tests.support.selectors import selector_of

NAME_SYNTAX = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', "
    "regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE_SYNTAX = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  "
    "or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
SUBDOMAIN_SYNTAX = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    r"for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
OPTIONAL_PREFIX = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
NOT_AN_INTEGER = "for 'Gt', 'Lt' operators, the value must be an integer"


@pytest.mark.parametrize(
    ("text", "requirements"),
    [
        ("", []),
        (" \t\r\n", []),
        ("app", [("app", "exists")]),
        ("!app", [("app", "!")]),
        (" ! app ", [("app", "!")]),
        ("app=web", [("app", "=", "web")]),
        ("app==web", [("app", "=", "web")]),
        (" app\t=\nweb ", [("app", "=", "web")]),
        ("app!=web", [("app", "!=", "web")]),
        ("app=", [("app", "=", "")]),
        ("app=,tier!=", [("app", "=", ""), ("tier", "!=", "")]),
        ("n>5", [("n", "gt", "5")]),
        ("n < 007", [("n", "lt", "007")]),
        ("n>9223372036854775807", [("n", "gt", "9223372036854775807")]),
        ("app in (web)", [("app", "in", "web")]),
        ("app in(web,api)", [("app", "in", "api", "web")]),
        ("app notin ( web , api,web )", [("app", "notin", "api", "web")]),
        ("app in ()", [("app", "in", "")]),
        ("app in (,x)", [("app", "in", "", "x")]),
        ("app in (x,)", [("app", "in", "", "x")]),
        ("app in (x,,y)", [("app", "in", "", "x", "y")]),
        ("app in (,)", [("app", "in", "")]),
        ("app notin (,,x,,,y,,,)", [("app", "notin", "", "x", "y")]),
        ("in in (in,notin)", [("in", "in", "in", "notin")]),
        ("notin,in=in", [("in", "=", "in"), ("notin", "exists")]),
        ("!in", [("in", "!")]),
        ("b,a", [("a", "exists"), ("b", "exists")]),
        ("a=1,a==1", [("a", "=", "1")]),
        (
            "nvidia.com/gpu.product=A100_SXM4-80GB",
            [("nvidia.com/gpu.product", "=", "A100_SXM4-80GB")],
        ),
        (f"{'p' * 253}/{'n' * 63}={'v' * 63}", [(f"{'p' * 253}/{'n' * 63}", "=", "v" * 63)]),
    ],
)
def test_the_grammar(text: str, requirements: list[tuple[str, ...]]) -> None:
    """Every form that apimachinery accepts is read in the same way."""
    parsed = parse_selector(text).requirements
    assert [(r.key, r.operator, *r.values) for r in parsed] == requirements


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("!=a", "found '!=', expected: !, identifier, or 'end of string'"),
        ("()", "found '(', expected: !, identifier, or 'end of string'"),
        ("app=web,", "found '', expected: identifier after ','"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        ("!a in (b)", "found 'in', expected: ',' or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("!!a", "unable to parse requirement: found '!', expected: identifier"),
        ("app===", "unable to parse requirement: found '=', expected: identifier"),
        ("a=(b)", "unable to parse requirement: found '(', expected: identifier"),
        (
            "a b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        ),
        (
            "a IN (b)",
            "unable to parse requirement: found 'IN', expected: in, notin, =, ==, !=, gt, lt",
        ),
        ("a in", "unable to parse requirement: found '' expected: '('"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("a in (!b)", "unable to parse requirement: found '!', expected: ',', ')' or identifier"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("a in (b,=)", "unable to parse requirement: found '=', expected: ',', or identifier"),
        ("a in (b,,)", "unable to parse requirement: found ')', expected: ',', or identifier"),
    ],
)
def test_what_is_malformed_is_refused_in_the_words_of_the_api(text: str, message: str) -> None:
    """For each of these kubectl 1.32, which has apimachinery's own parser, has the same message."""
    with pytest.raises(BadRequestError) as raised:
        parse_selector(text)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("text", "field", "value", "problem"),
    [
        ("-a", "<nil>", "-a", f"name part {NAME_SYNTAX}"),
        ("é", "<nil>", "é", f"name part {NAME_SYNTAX}"),
        ("a/=b", "<nil>", "a/", f"name part must be non-empty; name part {NAME_SYNTAX}"),
        ("!/a", "<nil>", "/a", "prefix part must be non-empty"),
        ("A/b", "<nil>", "A/b", f"prefix part {SUBDOMAIN_SYNTAX}"),
        ("a..b/c", "<nil>", "a..b/c", f"prefix part {SUBDOMAIN_SYNTAX}"),
        ("a/b/c", "<nil>", "a/b/c", f"a qualified name {NAME_SYNTAX} {OPTIONAL_PREFIX}"),
        ("k" * 64, "<nil>", "k" * 64, "name part must be no more than 63 characters"),
        (
            f"{'p' * 254}/k",
            "<nil>",
            f"{'p' * 254}/k",
            "prefix part must be no more than 253 characters",
        ),
        ('a="b"', "values[0][a]", '"b"', VALUE_SYNTAX),
        ("a in (b,c_)", "values[1][a]", "c_", VALUE_SYNTAX),
        (f"a={'v' * 64}", "values[0][a]", "v" * 64, "must be no more than 63 characters"),
        ("a>", "values[0]", "", NOT_AN_INTEGER),
        ("a<1.5", "values[0]", "1.5", NOT_AN_INTEGER),
        ("a>9223372036854775808", "values[0]", "9223372036854775808", NOT_AN_INTEGER),
        ("a>-5", "values[0][a]", "-5", VALUE_SYNTAX),
    ],
)
def test_a_key_or_value_that_no_label_can_have_is_refused(
    text: str, field: str, value: str, problem: str
) -> None:
    """Keys and values must have the syntax of labels, again with apimachinery's messages."""
    with pytest.raises(BadRequestError) as raised:
        parse_selector(text)
    quoted = json.dumps(value, ensure_ascii=False)
    message = f"unable to parse requirement: {field}: Invalid value: {quoted}: {problem}"
    assert str(raised.value) == message


def test_the_real_api_refuses_in_the_same_words() -> None:
    """The message for a bad selector is that of a live API server."""
    recording = json.loads((KUBE_API / "pods-list-bad-selector.json").read_text())
    with pytest.raises(BadRequestError) as raised:
        parse_selector(selector_of(urlsplit(recording["request"]["path"]).query))
    assert str(raised.value) == recording["response"]["body"]["message"]
    assert raised.value.code == recording["response"]["status"]


def test_a_selector_that_is_too_long_is_refused() -> None:
    """The limit is exact, and the message names it."""
    longest = "a in (" + ",".join(["b"] * ((MAX_SELECTOR_LENGTH - 7) // 2)) + ")"
    longest += " " * (MAX_SELECTOR_LENGTH - len(longest))
    assert parse_selector(longest).matches({"a": "b"})
    with pytest.raises(BadRequestError, match=f"at most {MAX_SELECTOR_LENGTH} are allowed"):
        parse_selector(longest + " ")


def test_an_undecodable_character_is_refused_in_words_that_can_be_sent() -> None:
    """A lone surrogate, left over from bytes that were not UTF-8, does not break the answer."""
    with pytest.raises(BadRequestError) as raised:
        parse_selector("a=\udcff")
    assert str(raised.value).encode()
