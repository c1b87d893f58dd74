"""Answers from the query API, decoded within bounds."""

import math
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.errors import QueryError
from metrics_server.sources.prometheus.vector import Series, Vector, decode, joined

MOST = 3


def answer(result: str, kind: str = "vector", more: str = "") -> bytes:
    """A successful answer."""
    return (
        f'{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}{more}}}'.encode()
    )


def element(value: str = "1", labels: str = "") -> str:
    """A series."""
    return f'{{"metric":{{{labels}}},"value":[1700000000.5,"{value}"]}}'


def decoded(body: bytes, most: int = MOST) -> Vector:
    """A whole answer."""
    return joined(decode(body, most))


def failure(body: bytes) -> QueryError:
    """The error of decoding."""
    with pytest.raises(QueryError) as raised:
        decoded(body, MOST)
    return raised.value


def test_a_vector() -> None:
    """Each series has its labels, its value and the evaluation time."""
    one = element("42.5", '"__name__":"up","pod":"a\\u00e9"')
    assert decoded(answer(f"[{one}]"), MOST) == Vector(
        (Series({"__name__": "up", "pod": "aé"}, 42.5, 1700000000.5),)
    )


def test_an_empty_vector_has_no_series() -> None:
    """No result is not zero."""
    assert decoded(answer("[]"), MOST).series == ()


def test_a_scalar_is_a_series_without_labels() -> None:
    """Some queries, such as scalar(...), return one."""
    assert decoded(answer('[1700000000,"7"]', "scalar"), MOST).series == (
        Series({}, 7.0, 1700000000.0),
    )


@pytest.mark.parametrize(
    ("text", "value"), [("NaN", math.nan), ("+Inf", math.inf), ("-Inf", -math.inf), ("1e-7", 1e-7)]
)
def test_values_as_prometheus_writes_them(text: str, value: float) -> None:
    """NaN and infinities are values; the caller decides about them."""
    (one,) = decoded(answer(f"[{element(text)}]"), MOST).series
    assert repr(one.value) == repr(value)


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        (answer("[]", "matrix"), "not-a-vector", "returns a matrix, not an instant vector; a ran"),
        (answer('[0,"a"]', "string"), "not-a-vector", "returns a string, not an instant vector"),
        (
            answer('[{"metric":{},"histogram":[0,{"count":"1"}]}]'),
            "not-a-vector",
            "native histograms",
        ),
        (answer('[{"metric":{}}]'), "not-json", "a series has no value"),
        (answer(f"[{element('many')}]"), "not-json", "many is not a number"),
        (answer('[{"metric":{"a":1},"value":[0,"1"]}]'), "not-json", "Expected `str`, got `int`"),
        (answer('[{"metric":{},"value":[0,1]}]'), "not-json", "Expected `str`, got `int`"),
        (b'{"status":"success"}', "not-json", "no data"),
        (b'{"status":"\xff"}', "not-json", "invalid start byte"),
        (b"[]", "not-json", "Expected `object`, got `array`"),
        (b"", "cut-short", "was cut short; see its log"),
        (answer(f"[{element()}]")[:-5], "cut-short", "was cut short; see its log"),
        (answer(f"[{element()}]") + b"}", "not-json", "trailing characters"),
        (b'{"a":' + b"[" * 100_000, "not-json", "nested too deeply"),
        (
            b'{"status":"error","errorType":"bad_data","error":"pars\xc3\xa9 \\u001b[31m"}',
            "bad-query",
            "reported an error: bad_data: parsé \\x1b[31m",
        ),
        (answer(f"[{','.join([element()] * 4)}]"), "too-large", "returned more than 3 series"),
        (answer(f"[{'{},' * 2000}]"), "too-large", "far more than 3 series (prometheus.maxSeries)"),
        (answer("[[0]]"), "not-json", "Expected `object`, got `array`"),
    ],
)
def test_what_is_not_a_vector(body: bytes, reason: str, words: str) -> None:
    """The error says what it is."""
    error = failure(body)
    assert (error.reason, words in str(error)) == (reason, True), error


def test_many_labels_are_too_large() -> None:
    """Labels use memory too, however few the series."""
    labels = ",".join(f'"a{number}":"b"' for number in range(500))
    assert failure(answer(f"[{element('1', labels)}]")).reason == "too-large"


def test_what_takes_long_in_one_step_is_not_decoded() -> None:
    """A target may have any labels, which could delay every other request."""
    labels = f'"a":"{"x" * 300_000}"'
    error = failure(answer(f"[{element(labels=labels)}]"))
    assert (error.reason, "whose labels have more than" in str(error)) == ("too-large", True)
    assert "9999… is not a number" in str(failure(answer(f"[{element('9' * 100_000)}]")))


def test_warnings_are_returned() -> None:
    """Warnings and infos are on separate lines, and limited in length and number."""
    more = f',"warnings":["store a: \\u001b down"],"infos":["{"x" * 300}"]'
    assert decoded(answer("[]", more=more), MOST).warnings == (
        "store a: \\x1b down",
        "x" * 199 + "…",
    )
    many = msgspec.json.encode([str(number) for number in range(20)]).decode()
    found = decoded(answer("[]", more=f',"warnings":{many}'), MOST).warnings
    assert found == ("0", "1", "2", "3", "4", "5", "6", "and 13 more warnings")
    assert decoded(answer("[]", more=',"warnings":null'), MOST).warnings == ()
    huge = "x" * 70_000
    assert decoded(answer("[]", more=f',"warnings":["{huge}"]'), MOST).warnings == (
        "more warnings than can be shown",
    )


def test_a_partial_answer_says_so() -> None:
    """VictoriaMetrics has a field for it instead of a warning."""
    assert decoded(answer("[]", more=',"isPartial":true'), MOST).warnings == (
        "the answer is partial (isPartial)",
    )
    assert decoded(answer("[]", more=',"isPartial":false,"stats":{"x":[1]}'), MOST).warnings == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["status", "data", "resultType", "result", "metric", "value", "warnings", "a"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    result=JSON,
    kind=st.sampled_from(["vector", "scalar", "matrix", "string", "x"]),
    more=JSON,
    cut=st.integers(0, 40),
)
def test_whatever_comes_is_a_vector_or_an_error(
    result: object, kind: str, more: object, cut: int
) -> None:
    """Any answer is decoded, or raises a QueryError."""
    whole = {
        "status": "success",
        "data": {"resultType": kind, "result": result},
        "warnings": more,
    }
    body = msgspec.json.encode(whole)
    with suppress(QueryError):
        assert isinstance(decoded(body[: len(body) - cut], MOST), Vector)


@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    """Even bytes that are not JSON raise nothing else."""
    with pytest.raises(QueryError):
        decoded(body, MOST)
