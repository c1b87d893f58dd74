"""Label selectors, held against the grammar, the real API's answers and a plain evaluation."""

import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.errors import BadRequestError
from metrics_server.kube.labels import MAX_SELECTOR_LENGTH, Requirement, Selector, parse_selector
from tests.support.data import KUBE_API, RECORDINGS

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
    """Every form that apimachinery accepts is read as apimachinery reads it."""
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
    """For each of these kubectl 1.32, which has apimachinery's own parser, says the same."""
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
    """Keys and values are held to the syntax of labels, again in apimachinery's words."""
    with pytest.raises(BadRequestError) as raised:
        parse_selector(text)
    quoted = json.dumps(value, ensure_ascii=False)
    message = f"unable to parse requirement: {field}: Invalid value: {quoted}: {problem}"
    assert str(raised.value) == message


def test_the_real_api_refuses_in_the_same_words() -> None:
    """What a live API server said to a bad selector is what is said here."""
    recording = json.loads((KUBE_API / "pods-list-bad-selector.json").read_text())
    with pytest.raises(BadRequestError) as raised:
        parse_selector(_selector_of(urlsplit(recording["request"]["path"]).query))
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


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("", {"a": "b"}, True),
        ("a=", {"a": ""}, True),
        ("a=", {}, False),
        ("a!=b", {}, True),
        ("a!=", {"a": ""}, False),
        ("a notin (b,c)", {}, True),
        ("a notin (b,c)", {"a": "c"}, False),
        ("a in (,x)", {"a": ""}, True),
        ("a in (,x)", {}, False),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        ("!a", {"a": ""}, False),
        ("!a", {"A": "b"}, True),
        ("n>5", {"n": "6"}, True),
        ("n>5", {"n": "5"}, False),
        ("n>5", {"n": "10"}, True),
        ("n<5", {"n": "4"}, True),
        ("n<5", {"n": "-1"}, True),
        ("n<5", {"n": "+1"}, True),
        ("n<5", {"n": "004"}, True),
        ("n<5", {}, False),
        ("n<5", {"n": ""}, False),
        ("n<5", {"n": "1_0"}, False),
        ("n<5", {"n": "\u0663"}, False),
        ("n<5", {"n": " 1"}, False),
        ("n>5", {"n": "five"}, False),
        ("n>5", {"n": "9223372036854775807"}, True),
        ("n>5", {"n": "9223372036854775808"}, False),
        ("n>9223372036854775807", {"n": "9223372036854775807"}, False),
        ("a=b,c!=d", {"a": "b", "c": "d"}, False),
        ("a=b,a=c", {"a": "b"}, False),
    ],
)
def test_matching(text: str, labels: Mapping[str, str], *, matches: bool) -> None:
    """Absent, empty and non-integer labels match as the API has them match."""
    assert parse_selector(text).matches(labels) is matches


KEYS = st.sampled_from(["a", "in", "notin", "x.y/a", "Z-0_z"])
WORDS = st.sampled_from(
    ["", "b", "in", "notin", "v.1", "0", "7", "007", "10", "9223372036854775807"]
)
INTEGERS = st.integers(0, 2**63 - 1).map(str) | st.sampled_from(["0", "7", "007", "10"])
Condition = tuple[str, str, list[str]]
CONDITIONS: st.SearchStrategy[Condition] = (
    st.tuples(KEYS, st.sampled_from(["exists", "!"]), st.just([]))
    | st.tuples(KEYS, st.sampled_from(["=", "==", "!="]), WORDS.map(lambda word: [word]))
    | st.tuples(KEYS, st.sampled_from([">", "<"]), INTEGERS.map(lambda number: [number]))
    | st.tuples(KEYS, st.sampled_from(["in", "notin"]), st.lists(WORDS, min_size=1, max_size=4))
)
LABELS = st.dictionaries(KEYS, WORDS | st.integers(-(2**65), 2**65).map(str), max_size=5)


def _written(key: str, operator: str, values: list[str], space: str) -> str:
    """A condition as a person may write it."""
    if operator == "exists":
        return key
    if operator == "!":
        return f"!{space}{key}"
    if operator in ("in", "notin"):
        # An empty value is put first: at the end it could make a run of commas that is refused.
        texts = [value for value in values if value]
        texts = ["", *texts] if "" in values else texts
        return f"{key} {operator}{space}({space}{f'{space},{space}'.join(texts)}{space})"
    return f"{key}{space}{operator}{space}{values[0]}"


def _holds(key: str, operator: str, values: list[str], labels: Mapping[str, str]) -> bool:
    """A condition evaluated as its definition reads."""
    if key not in labels:
        return operator in ("!=", "notin", "!")
    value = labels[key]
    if operator in ("=", "==", "in"):
        return any(value == wanted for wanted in values)
    if operator in ("!=", "notin"):
        return all(value != unwanted for unwanted in values)
    if operator in (">", "<"):
        is_integer = re.fullmatch(r"-?\d+", value, re.ASCII) and -(2**63) <= int(value) < 2**63
        lower, higher = (values[0], value) if operator == ">" else (value, values[0])
        return bool(is_integer) and int(lower) < int(higher)
    return operator == "exists"


@given(
    conditions=st.lists(CONDITIONS, max_size=4),
    space=st.sampled_from(["", " ", "\t \n"]),
    labels=LABELS,
)
def test_matches_is_what_the_definitions_say(
    conditions: list[Condition], space: str, labels: Mapping[str, str]
) -> None:
    """A parsed selector agrees with each of its conditions, evaluated one by one."""
    selector = parse_selector(",".join(_written(*condition, space) for condition in conditions))
    assert selector.matches(labels) is all(_holds(*each, labels) for each in conditions)


@given(conditions=st.lists(CONDITIONS, max_size=4), space=st.sampled_from(["", " "]))
def test_the_canonical_form_parses_back(conditions: list[Condition], space: str) -> None:
    """However the same conditions are written, their selectors and canonical texts are equal."""
    selector = parse_selector(",".join(_written(*condition, space) for condition in conditions))
    assert parse_selector(str(selector)) == selector
    shuffled = ",".join(_written(*condition, " ") for condition in reversed(conditions))
    assert str(parse_selector(shuffled)) == str(selector)
    assert hash(parse_selector(shuffled)) == hash(selector)


@given(st.text() | st.text(alphabet="ain!=<>(), \t\x00é/-_.1", max_size=20))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No text makes the parser fail in another way, and what it accepts it can write."""
    try:
        selector = parse_selector(text)
    except BadRequestError:
        return
    assert parse_selector(str(selector)) == selector


def test_a_selector_is_a_value() -> None:
    """Selectors can be made by hand, compared and used as keys, also after they have matched."""
    by_hand = Selector((Requirement("a", "=", ("b",)),))
    assert by_hand.matches({"a": "b"})
    assert by_hand == parse_selector("a = b")
    assert {by_hand: 1}[parse_selector("a==b")] == 1
    assert str(by_hand) == "a=b"


def _selector_of(query: str) -> str:
    return parse_qs(query).get("labelSelector", [""])[0]


def _recorded_queries() -> Iterator[str]:
    with (RECORDINGS / "aggregator.jsonl").open() as lines:
        yield from (json.loads(line)["query"] for line in lines)
    for path in (KUBE_API).glob("*.json"):
        request = json.loads(path.read_text())["request"]
        if isinstance(request, dict) and path.name != "pods-list-bad-selector.json":
            yield urlsplit(request["path"]).query


def _recorded_pods(pattern: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    paths = list((KUBE_API).glob(pattern))
    assert paths
    for path in paths:
        for pod in json.loads(path.read_text())["response"]["body"]["items"]:
            yield pod["metadata"]["name"], pod["metadata"]["labels"]


def test_every_recorded_selector_parses() -> None:
    """What real clients sent, the HPA controller's selector among it, is understood."""
    selectors = {str(parse_selector(_selector_of(query))) for query in _recorded_queries()}
    assert selectors == {
        "",
        "app=x",
        "app=inference,!canary,tier in (accel,gpu)",
        "app=inference,!canary,tier in (accel,gpu),x notin (a,b)",
        "kubernetes.io/service-name=dcgm-exporter",
    }


def test_the_recorded_selector_selects_what_the_real_api_selected() -> None:
    """Of all pods, those that the API returned for the selector are matched, and no other."""
    path = KUBE_API / "pods-list-label-selector.json"
    request = json.loads(path.read_text())["request"]
    selector = parse_selector(_selector_of(urlsplit(request["path"]).query))
    expected = {name for name, _ in _recorded_pods(path.name)}
    everything = dict(_recorded_pods("pods-list-page*.json"))
    assert {name for name, labels in everything.items() if selector.matches(labels)} == expected
    for labels in everything.values():
        assert not selector.matches({**labels, "canary": "true"})
        assert not selector.matches({**labels, "tier": "cpu"})


def test_an_endpoint_slice_is_selected_by_its_service() -> None:
    """The selector by which exporters are found matches the slice that the API returned for it."""
    recording = json.loads((KUBE_API / "endpointslices-dcgm-exporter.json").read_text())
    selector = parse_selector(_selector_of(urlsplit(recording["request"]["path"]).query))
    (endpoint_slice,) = recording["response"]["body"]["items"]
    assert selector.matches(endpoint_slice["metadata"]["labels"])
