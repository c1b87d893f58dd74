"""The words that product code and documents avoid, and what to write instead."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Folders and files that are checked.
SWEPT = (
    "CHANGELOG.md",
    "README.md",
    "RELEASE.md",
    "SECURITY.md",
    "certs",
    "deployments",
    "docs",
    "metrics_server",
    "tests",
)

KINDS = {".md", ".py", ".tpl", ".txt", ".yaml"}

# A pattern, matched as whole words in any case, and what to write instead.
INSTEAD = {
    r"anew": "again",
    r"afresh": "again",
    r"told": "reported",
    r"tells?": "report, return, say",
    r"mend(s|ed|ing)?": "fix",
    r"cease[sd]?": "stop, expire",
    r"who(ever)? asks": "the caller",
    r"(keeps?|kept) (\w+ )?in step": "keep up to date",
    r"listened on": "bind, listen",
    r"for ever": "indefinitely",
    r"go(es)? by (its|the) (field|type)": "use",
    r"beware": "watch out",
    r"throw-away": "temporary",
    r"(stands|standing) in for": "replaces, is used instead of",
    r"has had its move": "has already moved",
    r"a defect of ours": "a bug in the server",
    r"said of an": "assumes, applies to",
    r"repair": "fix",
    r"but for (it|one|that|what|health|those|this)": "except",
    r"(is|are) dear": "expensive",
    r"taken up": "loaded, reloaded",
    r"holds? no better": "have nothing newer",
    r"good order": "working",
    r"(?<!there )is no (number|quantity|file|HTTP|errno|measurement)": "is not a",
}
_BANNED = {
    re.compile(rf"\b(?:{word})\b", re.IGNORECASE): instead for word, instead in INSTEAD.items()
}
# Most files have none of them, and need not be tokenized.
_ANY = re.compile(rf"\b(?:{'|'.join(INSTEAD)})\b", re.IGNORECASE)
# An f-string's fields are code, which Python 3.11 has in the same token.
_FIELD = re.compile(r"\{[^{}\n]*\}")
_TEXT = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """A document's lines, or those of a module's strings, docstrings and comments, numbered."""
    source = path.read_text()
    if path.suffix != ".py":
        yield from enumerate(source.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _TEXT:
            text = _FIELD.sub("", token.string)
            yield from enumerate(text.splitlines(), token.start[0])


def complaints(path: Path) -> list[str]:
    """What a file should say differently."""
    if not _ANY.search(path.read_text()):
        return []
    return [
        f'{path}:{number}: "{found[0]}": write {instead}'
        for number, line in prose(path)
        for word, instead in _BANNED.items()
        if (found := word.search(line))
    ]


def files(name: str) -> list[Path]:
    """The texts in a folder, or the one file; this module contains the words themselves."""
    path = ROOT / name
    found = [path] if path.is_file() else path.rglob("*")
    return sorted(one for one in found if one.suffix in KINDS and one != Path(__file__))


@pytest.mark.parametrize("name", SWEPT)
def test_plain_words(name: str) -> None:
    """Checked files and folders stay free of these words."""
    paths = files(name)
    assert paths
    assert [line for path in paths for line in complaints(path)] == []


def test_what_is_read(tmp_path: Path) -> None:
    """Strings, docstrings and comments count, names do not; documents count as a whole."""
    module = tmp_path / "module.py"
    module.write_text('"""Begins anew."""\ntold = 1  # mended\nx = f"{told} whoever asks"\n')
    page = tmp_path / "page.md"
    page.write_text("Fine.\n\nIt Tells all.\n")

    assert complaints(module) == [
        f'{module}:1: "anew": write again',
        f'{module}:2: "mended": write fix',
        f'{module}:3: "whoever asks": write the caller',
    ]
    assert complaints(page) == [f'{page}:3: "Tells": write report, return, say']
