"""Long answers from the query API, decoded in pieces."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metrics_server.errors import QueryError
from metrics_server.sources.prometheus import pieces
from metrics_server.sources.prometheus.pieces import MOST_SERIES_BYTES, PIECE_BYTES, split
from metrics_server.sources.prometheus.vector import decode, joined

MOST = 1000


def answer(series: str, more: str = "") -> bytes:
    """A successful answer with these series."""
    data = f'{{"resultType":"vector","result":[{series}]}}'
    return f'{{"status":"success","data":{data}{more}}}'.encode()


def element(labels: str, value: str = "1") -> str:
    """A series."""
    return f'{{"metric":{{{labels}}},"value":[1.5,"{value}"]}}'


def failure(body: bytes) -> QueryError:
    """The error of decoding."""
    with pytest.raises(QueryError) as raised:
        joined(decode(body, MOST))
    return raised.value


def test_a_short_answer_is_one_piece() -> None:
    """The piece is the answer, unchanged."""
    body = answer(element(""))
    assert list(split(body)) == [body]


@pytest.mark.slow
def test_an_answer_at_the_bound_is_split_into_short_pieces() -> None:
    """Each takes a few milliseconds; together they have all series, in order."""
    labels = ",".join(f'"label_{number}":"{"x" * 30}"' for number in range(34))
    body = answer(",".join(element(labels, str(number)) for number in range(20_000)))
    parts = list(split(body))
    assert max(map(len, parts[1:])) < PIECE_BYTES + 3000
    assert len(parts[0]) <= PIECE_BYTES + MOST_SERIES_BYTES
    assert sum(map(len, parts)) < len(body) + 2 * len(parts)
    values = [one.value for one in joined(decode(body, 20_000)).series]
    assert values == list(range(20_000))


# Text that looks like the end of a series, of the answer, or of a string.
TEXTS = st.lists(
    st.sampled_from(
        [
            '},{"metric":',
            '"}',
            ',{"metric":{',
            "]}",
            "},{",
            "\\",
            '"',
            "é",
            "a",
            '"value":',
            "[",
            "{",
        ]
    ),
    max_size=6,
).map("".join)
SERIES = st.fixed_dictionaries(
    {
        "metric": st.dictionaries(
            st.sampled_from(["a", "metric", "value"]) | TEXTS, TEXTS, max_size=3
        ),
        "value": st.tuples(st.floats(0, 9), st.integers(0, 99).map(str)),
    }
)


@given(series=st.lists(SERIES, min_size=1, max_size=12), blanks=st.booleans(), last=st.booleans())
@example(series=[{"metric": {"a": "},"}, "value": [1.5, "1"]}] * 9, blanks=False, last=False)
@example(
    series=[{"metric": {"a": '},{"metric":'}, "value": [1.5, "1"]}] * 9, blanks=True, last=True
)
@example(series=[{"metric": {"a": "},"}, "value": [1.5, "1"]}] * 40, blanks=True, last=False)
def test_the_pieces_say_the_same(
    series: list[dict[str, object]], *, blanks: bool, last: bool
) -> None:
    """The pieces have the same series, with any labels, key order and blanks."""
    written: list[object] = [
        dict(reversed(one.items())) if last and number % 2 else one
        for number, one in enumerate(series)
    ]
    data = {"status": "success", "data": {"resultType": "vector", "result": written}}
    body = json.dumps(data, indent=1 if blanks else None, separators=None if blanks else (",", ":"))
    whole = joined(decode(body.encode(), MOST))
    with pytest.MonkeyPatch.context() as patch:
        # With blanks, the part before the first series has 74 bytes; a piece is longer.
        patch.setattr(pieces, "PIECE_BYTES", 100)
        patch.setattr(pieces, "MOST_SERIES_BYTES", 2000)
        assert joined(decode(body.encode(), MOST)) == whole
        if len(body) > 2000:
            assert len(list(split(body.encode()))) > 1
    assert len(whole.series) == len(series)


@given(st.lists(TEXTS, max_size=30).map("".join), st.integers(0, 400))
def test_what_is_not_valid_stays_so(text: str, at: int) -> None:
    """Splitting never turns an invalid answer into a valid one."""
    body = answer(",".join([element('"a":"b"')] * 9)).decode()
    body = body[:at] + text + body[at:]
    try:
        whole = joined(decode(body.encode(), MOST))
    except QueryError:
        whole = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", 100)
        patch.setattr(pieces, "MOST_SERIES_BYTES", 5000)
        try:
            found = joined(decode(body.encode(), MOST))
        except QueryError:
            found = None
    assert found == whole


def test_a_series_that_is_too_long() -> None:
    """A series that is too long is rejected without decoding, wherever it is."""
    short = ",".join([element('"a":"b"')] * 9000)
    long = element(f'"a":"{"x" * (MOST_SERIES_BYTES + PIECE_BYTES)}"')
    for series in (f"{long},{short}", f"{short},{long},{short}", f"{short},{long}", long):
        with pytest.raises(QueryError) as raised:
            joined(decode(answer(series), 20_000))
        error = raised.value
        assert error.reason == "too-large"
        assert "a series whose labels have more than 262144 bytes" in str(error)


def test_long_answers_that_are_something_else() -> None:
    """The error says so, and nothing long is decoded."""
    many = ",".join([element('"a":"b"')] * 9000)
    matrix = answer(many).replace(b'"vector"', b'"matrix"')
    assert "returns a matrix" in str(failure(matrix))
    assert failure(answer(many)[:-3]).reason == "cut-short"
    assert "more than 1000 series" in str(failure(answer(many)))
    assert "begins with something other than a result" in str(failure(b'{"a":"' + b"x" * 400_000))
    assert "Prometheus reported an error: x: xxx" in str(
        failure(f'{{"status":"error","errorType":"x","error":"{"x" * 200_000}"}}'.encode())
    )


def test_warnings_of_a_long_answer() -> None:
    """Warnings are found after the series or before them."""
    many = ",".join([element('"a":"b"')] * 5000)
    for body in (
        answer(many, ',"warnings":["a"]'),
        answer(many).replace(b'{"status"', b'{"warnings":["a"],"status"'),
    ):
        found = joined(decode(body, 5000))
        assert (len(found.series), found.warnings) == (5000, ("a",))
