"""Rows of a page in the exposition format."""

import math

import pytest

from metrics_server.sources.pages.exposition import UnreadableRowError, contains, parse_labels, rows
from tests.support.exposition import FAMILY


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
        # Not an escape, as in Prometheus.
        (rb'DCGM_FI_DEV_GPU_UTIL{a="C:\windows\"} 97"} 5', {"a": 'C:\\windows"} 97'}, 5),
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
        # Exemplars, as in OpenMetrics.
        (b'DCGM_FI_DEV_GPU_UTIL{a="1"} 97 # {trace_id="a",b="}"} 0.5', {"a": "1"}, 97),
        (b"DCGM_FI_DEV_GPU_UTIL 97 # {} 1 1789012300.25", {}, 97),
        (b"DCGM_FI_DEV_GPU_UTIL 97 1395066363000 # {} 1e-3 1789012300", {}, 97),
    ],
)
def test_a_row_is_read(line: bytes, labels: dict[str, str | None], value: float) -> None:
    """Labels and value are exactly those defined by the format."""
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
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97 # trace_id="a" 1',  # not an exemplar
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97 # {trace_id="a"}',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97# {trace_id="a"} 1',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97 DCGM_FI_DEV_GPU_UTIL{gpu="1"} 98',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 1_000',  # only Python reads these six
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} +nan',
        'DCGM_FI_DEV_GPU_UTIL{gpu="0"} ٩٧'.encode(),
        'DCGM_FI_DEV_GPU_UTIL{gpu="0"}\u00a097'.encode(),
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} \x0c97',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97\x0b',
        b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 0x1p-2',  # only Go reads these two
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
    """A bad row is lost, and never becomes another; the rows before and after it are read."""
    before, after = b'DCGM_FI_DEV_GPU_UTIL{gpu="6"} 1\n', b'DCGM_FI_DEV_GPU_UTIL{gpu="7"} 2\n'
    assert rows(line + b"\n", FAMILY) == []
    whole = before + line + b"\n" + after
    if line.startswith(b"DCGM_FI_DEV_GPU_UTIL") and line[20:21] in {b"", b" ", b"{", b"\t"}:
        with pytest.raises(UnreadableRowError, match="DCGM_FI_DEV_GPU_UTIL"):
            rows(whole, FAMILY, exact=True)
    else:
        assert [row.value for row in rows(whole, FAMILY, exact=True)] == [1, 2]
    assert [row.value for row in rows(before + line + b"\n" + after, FAMILY)] == [1, 2]


def test_a_family_may_be_anywhere() -> None:
    """A family is found at the start of a page, in several parts, and with repeated comments."""
    page = (
        b"DCGM_FI_DEV_GPU_UTIL 1\nother 2\n\n# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n"
        b"DCGM_FI_DEV_GPU_UTIL 3\n# HELP DCGM_FI_DEV_GPU_UTIL again\n"
        b"# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL 4\n"
    )
    assert [row.value for row in rows(page, FAMILY)] == [1, 3, 4]


@pytest.mark.parametrize("size", [0, 131_072, 200_000])
def test_a_page_of_any_length(size: int) -> None:
    """Long pages are searched differently."""
    more = b"other 1\n" * (size // 8)
    page = more + b"DCGM_FI_DEV_GPU_UTIL 1\n" + more + b"DCGM_FI_DEV_GPU_UTIL 2\n" + more
    assert [row.value for row in rows(page, FAMILY)] == [1, 2]
    assert rows(page, "DCGM_FI_DEV_GPU_UTIL_RATIO") == []
    assert contains(page, "UTIL 2")
    assert not contains(page, "UTIL 3")


def test_a_line_without_its_end_is_lost() -> None:
    """A page cut anywhere has only its whole rows, and never the 9 of a 97."""
    page = b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 97\r\nDCGM_FI_DEV_GPU_UTIL 42 1395066363000\n'
    whole = rows(page, FAMILY)
    assert [row.value for row in whole] == [97, 42]
    for cut in range(len(page)):
        assert rows(page[:cut], FAMILY) == whole[: page.count(b"\n", 0, cut)]
