"""docs/performance.md: its tables, and its descriptions of scenarios."""

import re
from pathlib import Path

import pytest

from tests.bench.counts.comparing import markdown, read
from tests.bench.document import DOCUMENT, parts, write_table
from tests.bench.registry import SCENARIOS


def test_only_the_table_changes(tmp_path: Path) -> None:
    """However often it is written."""
    document = tmp_path / "performance.md"
    document.write_text(
        "# Title\n\n<!-- one -->\n<!-- end -->\n\n<!-- two -->\n\nold\n\n<!-- end -->\n\nRest.\n"
    )

    for table in ("first", "second"):
        write_table("two", table, document)

    assert document.read_text() == (
        "# Title\n\n<!-- one -->\n<!-- end -->\n\n<!-- two -->\n\nsecond\n\n<!-- end -->\n\nRest.\n"
    )


def test_a_document_without_a_place_for_the_table_stays_as_it_is(tmp_path: Path) -> None:
    """The error says what is missing."""
    document = tmp_path / "performance.md"
    document.write_text("# Title\n")

    with pytest.raises(ValueError, match="needs the lines <!-- one --> and <!-- end -->"):
        write_table("one", "table", document)

    assert document.read_text() == "# Title\n"


def test_the_counts_are_those_recorded() -> None:
    """`make counts ARGS=--write` writes both."""
    assert parts("counts", DOCUMENT)[1] == markdown(read())


def test_the_measured_figures_have_their_place() -> None:
    """`make bench ARGS=--write-docs` writes them, each with its scenario."""
    rows = parts("measured", DOCUMENT)[1].splitlines()
    figures = [row for row in rows if row.startswith("| ") and not row.startswith("| scenario")]
    assert figures
    assert {row.split(" | ")[0].removeprefix("| ") for row in figures} <= set(SCENARIOS)


def test_every_scenario_is_described() -> None:
    """In the order of the table."""
    section = DOCUMENT.read_text().split("### The scenarios\n")[1].split("\n#")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [*SCENARIOS]
