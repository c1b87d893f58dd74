"""The time to read a page is linear in its size."""

import time

import pytest

from metrics_server.sources.pages.exposition import Row, parse_labels, prefixed_rows, rows
from tests.support.exposition import FAMILY


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
    """A megabyte designed to be slow takes no longer than any other.

    It takes a few hundredths of a second; with quadratic time, it would be many minutes.
    """
    began = time.process_time()
    assert rows(line + end, FAMILY) == []
    assert time.process_time() - began < 2


def test_a_line_is_looked_at_once_however_often_it_has_the_name() -> None:
    """The shorter a family's name, the more often it can occur in a long line."""
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
    """Only the start of a name may precede the family's."""
    page = line + b"\n" + b"p_gpu_clock 2\n"
    found = [] if prefix is None else [(prefix, 1.0)]
    assert [(p, row.value) for p, row in prefixed_rows(page, "gpu_clock")] == [*found, ("p_", 2)]


def test_prefixes_are_found_in_linear_time() -> None:
    """A page designed to be slow takes no longer."""
    began = time.process_time()
    for part in (b"a", b"gpu_clock", b" gpu_clock", b"gpu_clock ", b"a_gpu_clock\n"):
        assert prefixed_rows(part * (1_000_000 // len(part)), "gpu_clock") == []
    assert time.process_time() - began < 2


def test_many_labels_and_digits_are_read_in_linear_time() -> None:
    """The same holds for a long line that is well formed."""
    labels = b",".join(b'l%d="\\\\%d"' % (index, index) for index in range(60_000))
    page = b"DCGM_FI_DEV_GPU_UTIL{" + labels + b"} " + b"1" * 500_000 + b"e-499999\n"
    began = time.process_time()
    (row,) = rows(page, FAMILY)
    assert len(parse_labels(row.labels)) == 60_000
    assert row.value == pytest.approx(1.1111111111)
    assert time.process_time() - began < 2
