"""No Python file is so long that it has more than one subject."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_LINES = 300


def test_no_file_is_too_long() -> None:
    """A file of more than 300 lines must be split by subject or job."""
    files = [
        path for folder in ("metrics_server", "tests") for path in (ROOT / folder).rglob("*.py")
    ]
    assert files
    lines = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in files}
    too_long = {str(path): count for path, count in lines.items() if count > MOST_LINES}
    assert not too_long, "split these by subject"
