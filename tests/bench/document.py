"""The tables in docs/performance.md, each between its markers."""

from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"
_END = "<!-- end -->"


def parts(name: str, document: Path) -> tuple[str, str, str]:
    """The text before a table, the table, and the text after it.

    Raises:
        ValueError: the document has no place for it.
    """
    mark = f"<!-- {name} -->\n"
    before, begin, rest = document.read_text(encoding="utf-8").partition(mark)
    table, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{document} needs the lines {mark.strip()} and {_END}")
    return before + begin, table.strip(), end + after


def write_table(name: str, table: str, document: Path = DOCUMENT) -> None:
    """Replace a table in the document.

    Raises:
        ValueError: the document has no place for it.
    """
    before, _, after = parts(name, document)
    document.write_text(f"{before}\n{table}\n\n{after}", encoding="utf-8")
