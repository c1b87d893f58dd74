"""Numbers in text from peers: only in the formats' own forms, not all that Python accepts."""

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metrics_server.common.numbers import is_digits, parse_digits, parse_float
from metrics_server.errors import QueryError
from metrics_server.kube.pod_requests import Container, Resources
from metrics_server.sources.pages.exposition import rows
from metrics_server.sources.prometheus.vector import decode, joined

# The grammar in strconv.ParseFloat's documentation, without hexadecimal mantissas and underscores,
# which Prometheus rejects; "infinity" and "nan" are not case-sensitive there.
GRAMMAR = re.compile(
    r"""
    [+-]? ( [0-9]+ ( \. [0-9]* )? | \. [0-9]+ ) ( [eE] [+-]? [0-9]+ )?
    | [+-]? (?i: inf | infinity )
    | (?i: nan )
    """,
    re.VERBOSE,
)
PYTHON_ONLY = ["1_000", " 1", "1 ", "1\n", "\u0661", "+nan", "-NaN", "1__0", "\uff11", "1\u00a0"]
texts = st.text(st.sampled_from("0123456789_+-.eEinfatyNIFxX \t\u0661"), max_size=12)


def parsed(text: str) -> float | None:
    """The number in a text; None if there is none."""
    try:
        return parse_float(text)
    except ValueError:
        return None


def same(one: float | None, other: float | None) -> bool:
    """Whether two numbers are equal, NaN included."""
    if one is None or other is None:
        return one is other
    return one == other or (math.isnan(one) and math.isnan(other))


@given(st.one_of(texts, st.from_regex(GRAMMAR, fullmatch=True), st.floats().map(str)))
@example("1_000")
@example("1e400")
def test_numbers_are_those_of_the_grammar(text: str) -> None:
    """Exactly these are numbers, with Python's value, as are the values on a page."""
    expected = float(text) if GRAMMAR.fullmatch(text) else None
    assert same(parsed(text), expected)
    if not text.isspace() and text == text.strip():
        found = rows(f"up {text}\n".encode(), "up")
        # On a page, a timestamp follows a blank.
        assert " " in text or "\t" in text or same(found[0].value if found else None, expected)


@pytest.mark.parametrize("text", PYTHON_ONLY)
def test_what_only_python_accepts_is_not_a_number(text: str) -> None:
    """Such text is rejected both in general and in an answer of the query API."""
    assert parsed(text) is None
    result = f'[{{"metric":{{}},"value":[1,"{text}"]}}]'.replace("\n", "\\n")
    body = f'{{"status":"success","data":{{"resultType":"vector","result":{result}}}}}'.encode()
    with pytest.raises(QueryError, match="is not a number"):
        joined(decode(body, 3))


@given(st.one_of(texts, st.from_regex(r"[0-9]{1,20}", fullmatch=True)))
def test_digits(text: str) -> None:
    """Only 0 to 9 are digits, and only numbers that surely fit into 64 bits are read."""
    assert is_digits(text) == bool(re.fullmatch("[0-9]+", text))
    fits = re.fullmatch("[0-9]{1,18}", text)
    assert parse_digits(text) == (int(text) if fits else None)


@pytest.mark.parametrize("text", ["1_0", " 1", "\u0661", ""])
def test_a_resource_is_counted_only_if_it_is_a_quantity(text: str) -> None:
    """A quantity is in kube-apiserver's format."""
    container = Container(resources=Resources(limits={"nvidia.com/gpu": text}))
    with pytest.raises(ValueError, match="is not a quantity"):
        container.request("nvidia.com/gpu")
