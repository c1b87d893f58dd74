"""Foreign text in messages and log lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.common.text import counted, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Ümläute and 火", "plain Ümläute and 火"),
        ("", ""),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("\u202eesrever\u2028line\ufeff", "\\u202eesrever\\u2028line\\ufeff"),
        ("\x00\x7f\x85\ud800", "\\x00\\x7f\\x85\\ud800"),
        ("x" * 40, "x" * 40),
        ("x" * 41, "x" * 39 + "…"),
        ("\n" * 22, "\\n" * 19 + "\\…"),
    ],
)
def test_shown(text: str, shown: str) -> None:
    """Text is shown on one line, safe for a terminal, and short."""
    assert printable(text, 40) == shown


@given(st.text(st.characters(codec=None), max_size=50), st.integers(1, 30))
def test_always_printable_and_bounded(text: str, most: int) -> None:
    """Any text is shown in printable characters, and within the limit."""
    shown = printable(text, most)
    assert shown.isprintable()
    assert len(shown) <= most


def test_a_number_with_its_noun() -> None:
    """The noun is singular or plural, depending on the number."""
    assert [counted(number, "pod") for number in (0, 1, 2)] == ["0 pods", "1 pod", "2 pods"]
