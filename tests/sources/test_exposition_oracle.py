"""Pages are read like prometheus_client reads them."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from metrics_server.sources.pages.exposition import parse_labels, rows
from tests.support.data import EXPORTERS
from tests.support.exposition import FAMILY

# prometheus_client raises an exception for the whole of these pages.
UNREADABLE = {"dcgm-malformed-lines", "dcgm-odd-values", "dcgm-4.x-duplicate-labels"}
WELL_FORMED = sorted(
    path for path in EXPORTERS.glob("*.prom") if path.stem not in UNREADABLE | {"dcgm-empty"}
)

Labels = tuple[tuple[str, str | None], ...]


def read(page: bytes, family: str = FAMILY) -> list[tuple[Labels, str]]:
    """A page's rows in a form that compares: NaN equals NaN, and -0 is 0."""
    return [
        (tuple(sorted(parse_labels(row.labels).items())), repr(row.value + 0))
        for row in rows(page, family)
    ]


def read_by_oracle(page: bytes) -> dict[str, list[tuple[Labels, str]]]:
    """The same rows of every family, from prometheus_client's parser."""
    read: defaultdict[str, list[tuple[Labels, str]]] = defaultdict(list)
    for metric in text_string_to_metric_families(page.decode()):
        for sample in metric.samples:
            labels = tuple(sorted(sample.labels.items()))
            read[sample.name].append((labels, repr(float(sample.value) + 0)))
    return read


@pytest.mark.parametrize("path", WELL_FORMED, ids=lambda path: path.stem)
def test_every_family_of_every_page_is_read_as_the_oracle_reads_it(path: Path) -> None:
    """The rows of the exporters' pages are those that prometheus_client reads."""
    page = path.read_bytes()
    families = {line.split(b"{")[0].decode() for line in page.splitlines() if line[:1] != b"#"}
    expected = read_by_oracle(page)
    # The oracle renames counters.
    for family in sorted(families - counters(page)):
        found = read(page, family)
        assert found
        assert found == expected[family]


def counters(page: bytes) -> set[str]:
    """The families on a page that are counters."""
    words = [line.split() for line in page.decode().splitlines() if line.startswith("# TYPE")]
    return {name for _, _, name, kind in words if kind == "counter"}


# Names that begin with two underscores are reserved, and prometheus_client rejects them.
NAMES = st.from_regex(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,9}", fullmatch=True)
BLANKS = st.text(" \t", max_size=2)
SOME_BLANKS = st.text(" \t", min_size=1, max_size=2)
VALUES = st.one_of(
    st.floats().map(lambda value: {"nan": "NaN", "inf": "+Inf"}.get(repr(value), repr(value))),
    st.floats(-1e9, 1e9).map("{:.6f}".format),
    st.floats(-1e9, 1e9).map("{:g}".format),
    st.integers(-(2**64), 2**64).map(str),
)
# Characters with a meaning in the format or in a parser are more likely.
TEXTS = st.text(
    st.one_of(st.sampled_from('\\"\n{}=,# \t\rn'), st.characters(exclude_categories=["Cs"])),
    max_size=12,
)
PREFIX = FAMILY.removesuffix("_UTIL")


@st.composite
def samples(draw: st.DrawFn) -> str:
    """A row that prometheus_client accepts, of the family or one with a similar name."""
    name = draw(st.sampled_from([FAMILY, FAMILY, FAMILY, PREFIX, f"{FAMILY}_X", f"X_{FAMILY}"]))
    row = draw(BLANKS) + name
    if draw(st.booleans()):
        labels: list[str] = []
        for label, text in draw(st.dictionaries(NAMES, TEXTS, max_size=5)).items():
            escaped = text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
            parts = (label, "=", f'"{escaped}"')
            blanks = draw(st.lists(BLANKS, min_size=4, max_size=4))
            labels.append("".join(a + b for a, b in zip(blanks, (*parts, ""), strict=True)))
        trailing_comma = draw(st.booleans())
        if labels and trailing_comma:
            labels.append("")
        row += draw(BLANKS) + "{" + ",".join(labels) + "}" + draw(BLANKS)
    else:
        row += draw(SOME_BLANKS)
    row += draw(VALUES)
    if draw(st.booleans()):
        row += draw(SOME_BLANKS) + str(draw(st.integers(-(2**63), 2**63 - 1)))
    return row + draw(BLANKS)


LINES = st.one_of(
    samples(),
    st.sampled_from(["", " ", "#", f"# TYPE {FAMILY} gauge", f"# HELP {FAMILY} {FAMILY} 1"]),
)


@settings(deadline=None)
@given(st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r\n"])), max_size=12))
def test_a_page_is_read_as_the_oracle_reads_it(lines: list[tuple[str, str]]) -> None:
    """From any page that prometheus_client accepts, both read the same rows, in order."""
    page = "".join(line + end for line, end in lines).encode()
    assert read(page) == read_by_oracle(page)[FAMILY]


@settings(deadline=None)
@given(
    st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r\n"])), max_size=12),
    st.lists(st.sampled_from(["", 'a="1"', 'a="1",b="\\n"', "a", "é"]), max_size=4),
    st.integers(0, 3),
)
def test_likely_labels_change_nothing(
    lines: list[tuple[str, str]], others: list[str], skipped: int
) -> None:
    """Another family's labels only make reading faster."""
    page = "".join(line + end for line, end in lines).encode()
    found = rows(page, FAMILY)
    for likely in ([row.labels for row in found], [row.labels for row in found[skipped:]], others):
        # As texts, because NaN does not equal NaN.
        assert [*map(repr, rows(page, FAMILY, likely))] == [*map(repr, found)]


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=8),
            st.sampled_from(
                [FAMILY.encode(), b"{", b"}", b'"', b"=", b",", b"\\", b"\n", b" ", b"9"]
            ),
        )
    )
)
def test_no_page_raises(parts: list[bytes]) -> None:
    """Any bytes give rows or none, and each row's labels can be parsed."""
    for row in rows(b"".join(parts), FAMILY):
        parse_labels(row.labels)
