"""The text format, by what the format's own words say and by prometheus_client as an oracle."""

import math
import time
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from metrics_server.sources.pages.exposition import Row, parse_labels, prefixed_rows, rows
from tests.support.data import EXPORTERS

FAMILY = "DCGM_FI_DEV_GPU_UTIL"
# prometheus_client raises for these pages as a whole.
UNREADABLE = {"dcgm-malformed-lines", "dcgm-odd-values", "dcgm-4.x-duplicate-labels"}
WELL_FORMED = sorted(
    path for path in EXPORTERS.glob("*.prom") if path.stem not in UNREADABLE | {"dcgm-empty"}
)

Labels = tuple[tuple[str, str | None], ...]


def read(page: bytes, family: str = FAMILY) -> list[tuple[Labels, str]]:
    """The rows of a page in a form that compares: NaN equals NaN, and -0 is 0."""
    return [
        (tuple(sorted(parse_labels(row.labels).items())), repr(row.value + 0))
        for row in rows(page, family)
    ]


def read_by_oracle(page: bytes) -> dict[str, list[tuple[Labels, str]]]:
    """The same rows of every family, as prometheus_client's parser reads them."""
    read: defaultdict[str, list[tuple[Labels, str]]] = defaultdict(list)
    for metric in text_string_to_metric_families(page.decode()):
        for sample in metric.samples:
            labels = tuple(sorted(sample.labels.items()))
            read[sample.name].append((labels, repr(float(sample.value) + 0)))
    return read


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [
        (b'DCGM_FI_DEV_GPU_UTIL{gpu="0",pod="a"} 97', {"gpu": "0", "pod": "a"}, 97),
        (b'DCGM_FI_DEV_GPU_UTIL{gpu="0",} 97', {"gpu": "0"}, 97),
        (b'DCGM_FI_DEV_GPU_UTIL{gpu="0"}97', {"gpu": "0"}, 97),
        (b'  DCGM_FI_DEV_GPU_UTIL\t{ gpu = "0" , pod="a" } \t97 ', {"gpu": "0", "pod": "a"}, 97),
        (b"DCGM_FI_DEV_GPU_UTIL{} 97", {}, 97),
        (b"DCGM_FI_DEV_GPU_UTIL 97", {}, 97),
        (b"DCGM_FI_DEV_GPU_UTIL\t97\r", {}, 97),
        (b"DCGM_FI_DEV_GPU_UTIL 97 1395066363000", {}, 97),
        (b"DCGM_FI_DEV_GPU_UTIL 97 -3982045", {}, 97),
        (rb'DCGM_FI_DEV_GPU_UTIL{a="\\\"\n\\n"} 97', {"a": '\\"\n\\n'}, 97),
        (b'DCGM_FI_DEV_GPU_UTIL{a="} 1,b={",c=""} 97', {"a": "} 1,b={", "c": ""}, 97),
        ('DCGM_FI_DEV_GPU_UTIL{a="Größe"} 97'.encode(), {"a": "Größe"}, 97),
        (b'DCGM_FI_DEV_GPU_UTIL{a="DCGM_FI_DEV_GPU_UTIL"} 97', {"a": FAMILY}, 97),
        (b'DCGM_FI_DEV_GPU_UTIL{a="1",a="1"} 97', {"a": "1"}, 97),
        (b'DCGM_FI_DEV_GPU_UTIL{a="1",a="2",a="1",b="3"} 97', {"a": None, "b": "3"}, 97),
        (b"DCGM_FI_DEV_GPU_UTIL 1.2e+08", {}, 1.2e8),
        (b"DCGM_FI_DEV_GPU_UTIL -.5E-1", {}, -0.05),
        (b"DCGM_FI_DEV_GPU_UTIL +5.", {}, 5),
        (b"DCGM_FI_DEV_GPU_UTIL 9223372036854775794", {}, 9223372036854775794.0),
        (b"DCGM_FI_DEV_GPU_UTIL NaN", {}, math.nan),
        (b"DCGM_FI_DEV_GPU_UTIL nan", {}, math.nan),
        (b"DCGM_FI_DEV_GPU_UTIL +Inf", {}, math.inf),
        (b"DCGM_FI_DEV_GPU_UTIL -infinity", {}, -math.inf),
    ],
)
def test_a_row_is_read(line: bytes, labels: dict[str, str | None], value: float) -> None:
    """Labels and value are exactly those that the format says are written."""
    (row,) = rows(line + b"\n", FAMILY)
    assert parse_labels(row.labels) == labels
    assert repr(row.value) == repr(float(value))


@pytest.mark.parametrize(
    "line",
    [
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0} 97',  # an unterminated value
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0" 97',  # unterminated labels
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0',
        b"DCGM_FI_DEV_GPU_UTIL{gpu",
        b"DCGM_FI_DEV_GPU_UTIL{",
        b"DCGM_FI_DEV_GPU_UTIL",
        b'DCGM_FI_DEV_GPU_UTIL{modelName="A100 "engineering" sample"} 97',
        rb'DCGM_FI_DEV_GPU_UTIL{modelName="C:\windows"} 97',  # no such escape
        rb'DCGM_FI_DEV_GPU_UTIL{modelName="\"} 97',
        b"DCGM_FI_DEV_GPU_UTIL{gpu=0} 97",
        b'DCGM_FI_DEV_GPU_UTIL{gpu "0"} 97',
        b'DCGM_FI_DEV_GPU_UTIL{0gpu="0"} 97',
        b'DCGM_FI_DEV_GPU_UTIL{g-pu="0"} 97',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"pod="a"} 97',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0",,pod="a"} 97',
        b'DCGM_FI_DEV_GPU_UTIL{,gpu="0"} 97',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"}',  # no value
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} ',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} NVIDIA A100-SXM4-80GB',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} ERROR - FAILED TO CONVERT TO STRING',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97 %',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97%',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97 98.5',  # two values: no timestamp has a fraction
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97 98 1395066363000',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97 # {trace_id="a"} 1',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97 DCGM_FI_DEV_GPU_UTIL{gpu="1"} 98',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 1_000',  # Python alone reads these six
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} +nan',
        'DCGM_FI_DEV_GPU_UTIL{gpu="0"} ٩٧'.encode(),
        'DCGM_FI_DEV_GPU_UTIL{gpu="0"}\u00a097'.encode(),
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} \x0c97',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97\x0b',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 0x1p-2',  # Go alone reads these two
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 0x61',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 1e',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} .',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 9 7 ms',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 9\r7',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="\xff"} 97',  # not UTF-8
        b'DCGM_FI_DEV_GPU_UTIL{gpu="\xed\xa0\x80"} 97',
        b"DCGM_FI_DEV_GPU_UTIL97",
        b"DCGM_FI_DEV_GPU_UTIL_MAX 97",  # other families
        b'DCGM_FI_DEV_GPU_UTIL:sum{gpu="0"} 97',
        b'NOT_DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97',
        b'other{of="DCGM_FI_DEV_GPU_UTIL 97"} 1',
        b'other{of="\\nDCGM_FI_DEV_GPU_UTIL 97',
        b'# DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97',
        b"# HELP DCGM_FI_DEV_GPU_UTIL 97",
        b"# HELP DCGM_FI_DEV_GPU_UTIL DCGM_FI_DEV_GPU_UTIL 97",
        b"# TYPE DCGM_FI_DEV_GPU_UTIL gauge",
        b"dcgm_fi_dev_gpu_util 97",
    ],
)
def test_what_cannot_be_read_exactly_costs_itself_alone(line: bytes) -> None:
    """A bad row is lost and none is made of it; the rows before and after it are read."""
    before, after = b'DCGM_FI_DEV_GPU_UTIL{gpu="6"} 1\n', b'DCGM_FI_DEV_GPU_UTIL{gpu="7"} 2\n'
    assert rows(line + b"\n", FAMILY) == []
    assert [row.value for row in rows(before + line + b"\n" + after, FAMILY)] == [1, 2]


def test_a_family_may_be_anywhere() -> None:
    """A family is found at the start of the page, in pieces, and with its comments repeated."""
    page = (
        b"DCGM_FI_DEV_GPU_UTIL 1\nother 2\n\n# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n"
        b"DCGM_FI_DEV_GPU_UTIL 3\n# HELP DCGM_FI_DEV_GPU_UTIL again\n"
        b"# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL 4\n"
    )
    assert [row.value for row in rows(page, FAMILY)] == [1, 3, 4]


def test_a_line_without_its_end_is_lost() -> None:
    """A page cut anywhere gives the rows that are whole, and never the 9 of a 97."""
    page = b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97\r\nDCGM_FI_DEV_GPU_UTIL 42 1395066363000\n'
    whole = rows(page, FAMILY)
    assert [row.value for row in whole] == [97, 42]
    for cut in range(len(page)):
        assert rows(page[:cut], FAMILY) == whole[: page.count(b"\n", 0, cut)]


@pytest.mark.parametrize("path", WELL_FORMED, ids=lambda path: path.stem)
def test_every_family_of_every_page_is_read_as_the_oracle_reads_it(path: Path) -> None:
    """What prometheus_client reads from the exporters' pages is what is read here."""
    page = path.read_bytes()
    families = {line.split(b"{")[0].decode() for line in page.splitlines() if line[:1] != b"#"}
    expected = read_by_oracle(page)
    # The oracle renames counters.
    for family in sorted(families - counters(page)):
        found = read(page, family)
        assert found
        assert found == expected[family]


def counters(page: bytes) -> set[str]:
    """The families of a page that are counters."""
    words = [line.split() for line in page.decode().splitlines() if line.startswith("# TYPE")]
    return {name for _, _, name, kind in words if kind == "counter"}


# Names that begin with two underscores are reserved, and prometheus_client refuses them.
NAMES = st.from_regex(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,9}", fullmatch=True)
BLANKS = st.text(" \t", max_size=2)
SOME_BLANKS = st.text(" \t", min_size=1, max_size=2)
VALUES = st.one_of(
    st.floats().map(lambda value: {"nan": "NaN", "inf": "+Inf"}.get(repr(value), repr(value))),
    st.floats(-1e9, 1e9).map("{:.6f}".format),
    st.floats(-1e9, 1e9).map("{:g}".format),
    st.integers(-(2**64), 2**64).map(str),
)
# Characters that the format or a parser gives a meaning are more likely.
TEXTS = st.text(
    st.one_of(st.sampled_from('\\"\n{}=,# \t\rn'), st.characters(exclude_categories=["Cs"])),
    max_size=12,
)
PREFIX = FAMILY.removesuffix("_UTIL")


@st.composite
def samples(draw: st.DrawFn) -> str:
    """A row that prometheus_client accepts, of the family or of one whose name is alike."""
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
    """Whatever page prometheus_client accepts, both read the same rows from it, in order."""
    page = "".join(line + end for line, end in lines).encode()
    assert read(page) == read_by_oracle(page)[FAMILY]


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
    """Whatever bytes come, rows come of them or none, and each row's labels can be parsed."""
    for row in rows(b"".join(parts), FAMILY):
        parse_labels(row.labels)


@pytest.mark.parametrize(
    "line",
    [
        FAMILY.encode() * 50_000,
        f"{FAMILY} ".encode() * 50_000,
        f"{FAMILY}{{a=".encode() + b'"' * 1_000_000,
        f"{FAMILY}{{".encode() + b'a="",' * 200_000 + b"} x",
        f"{FAMILY}{{".encode() + b'a="" ,' * 200_000,
        f"{FAMILY}{{".encode() + b'a="\\\\",' * 150_000 + b"} 1 x",
        f'{FAMILY}{{a="'.encode() + b"\\\\" * 500_000,
        f'{FAMILY}{{a="'.encode() + b'\\"' * 500_000 + b'"} x',
        f'{FAMILY}{{a="'.encode() + b"a" * 1_000_000,
        f"{FAMILY}{{".encode() + b"a" * 1_000_000,
        f"{FAMILY}{{".encode() + b" " * 1_000_000,
        FAMILY.encode() + b" " * 1_000_000,
        f"{FAMILY} 1".encode() + b" " * 1_000_000 + b"x",
        f"{FAMILY} ".encode() + b"1" * 1_000_000 + b"x",
        f"{FAMILY} 1".encode() + b" 1" * 500_000,
        b" " * 1_000_000 + f"{FAMILY} x".encode(),
        f'{FAMILY}{{a="\n'.encode() * 40_000,
        f"{FAMILY}{{\n".encode() * 40_000,
    ],
    ids=lambda line: line[:26].decode(),
)
@pytest.mark.parametrize("end", [b"", b"\n"], ids=["cut", "whole"])
def test_time_is_linear_in_the_page(line: bytes, end: bytes) -> None:
    """A megabyte that is made to be slow takes no more than a megabyte does.

    It takes a few hundredths of a second; were time quadratic, it would be many minutes.
    """
    began = time.process_time()
    assert rows(line + end, FAMILY) == []
    assert time.process_time() - began < 2


def test_a_line_is_looked_at_once_however_often_it_has_the_name() -> None:
    """The shorter a family's name, the more often a long line can have it."""
    began = time.process_time()
    assert rows(b"x" + b" A" * 500_000 + b"\nA 1\n", "A") == [Row("", 1)]
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("line", "prefix"),
    [
        (b"gpu_clock 1", ""),
        (b'amd_gpu_clock{a="1"} 1', "amd_"),
        (b" \tcluster:amd_gpu_clock\t1", "cluster:amd_"),
        (b"x\xffgpu_clock 1", None),
        (b"0gpu_clock 1", None),
        (b"a gpu_clock 1", None),
        (b"# TYPE gpu_clock 1", None),
        (b'a{b="gpu_clock 1', None),
        (b"gpu_clock_max 1", None),
        (b"gpu_clock text", None),
    ],
)
def test_a_family_behind_a_prefix(line: bytes, prefix: str | None) -> None:
    """A name may stand before the family's, and nothing else."""
    page = line + b"\n" + b"p_gpu_clock 2\n"
    found = [] if prefix is None else [(prefix, 1.0)]
    assert [(p, row.value) for p, row in prefixed_rows(page, "gpu_clock")] == [*found, ("p_", 2)]


def test_prefixes_are_found_in_linear_time() -> None:
    """A page made to be slow takes no longer."""
    began = time.process_time()
    for part in (b"a", b"gpu_clock", b" gpu_clock", b"gpu_clock ", b"a_gpu_clock\n"):
        assert prefixed_rows(part * (1_000_000 // len(part)), "gpu_clock") == []
    assert time.process_time() - began < 2


def test_many_labels_and_digits_are_read_in_linear_time() -> None:
    """The same holds where a long line is well formed."""
    labels = b",".join(b'l%d="\\\\%d"' % (index, index) for index in range(60_000))
    page = b"DCGM_FI_DEV_GPU_UTIL{" + labels + b"} " + b"1" * 500_000 + b"e-499999\n"
    began = time.process_time()
    (row,) = rows(page, FAMILY)
    assert len(parse_labels(row.labels)) == 60_000
    assert row.value == pytest.approx(1.1111111111)
    assert time.process_time() - began < 2
