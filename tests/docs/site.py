"""The hooks of mkdocs.yml, which turn pages written for a code forge into a site.

Some pages are not in docs/, and their links change. Files that a page links to become part of
the site. Python-Markdown needs more indentation in lists than CommonMark, and more blank lines.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# Pages outside docs/, and their places in the site. The README is the front page.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "RELEASE.md": "project/releasing.md",
    # Some file systems would take it and security.md for one file.
    "SECURITY.md": "project/vulnerabilities.md",
    "certs/README.md": "certs/README.md",
    "deployments/README.md": "deployments/README.md",
    "deployments/runbook.md": "deployments/runbook.md",
}
# Readers who search for a message want its fix: the search shows these pages first.
_FIRST_FOUND = ("troubleshooting.md",)
_INSIDE = {uri: path for path, uri in OUTSIDE.items()}
_LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]+)((?:#[^)\s]*)?)\)")
_MARKER = re.compile(r"(?:[-*]|\d+\.) +(?=\S)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/, and all other files that a page links to."""
    pages = [*OUTSIDE, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    linked = {path for page in pages for path in _linked(page)} - set(pages)
    for path in (*OUTSIDE, *sorted(linked)):
        if (ROOT / path).is_file():
            source = str(ROOT / path)
            files.append(File.generated(config, place(path), abs_src_path=source))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite a page's links for the site."""
    del config, files
    if page.file.src_uri in _FIRST_FOUND:
        page.meta["search"] = {"boost": 4}
    return for_site(markdown, repository_path(page.file.src_uri))


def place(path: str) -> str:
    """A repository file's place in the site, before rendering."""
    return OUTSIDE.get(path) or path.removeprefix("docs/")


def repository_path(uri: str) -> str:
    """A site page's place in the repository: the inverse of `place`."""
    return _INSIDE.get(uri) or f"docs/{uri}"


def for_site(markdown: str, path: str) -> str:
    """A repository page's text as the site needs it."""

    def moved(link: re.Match[str]) -> str:
        target = place(_resolved(path, link[1]))
        return f"]({posixpath.relpath(target, posixpath.dirname(place(path)) or '.')}{link[2]})"

    return "\n".join(_indented(_LINK.sub(moved, markdown)))


def _linked(page: str) -> Iterator[str]:
    for path, _ in _LINK.findall((ROOT / page).read_text(encoding="utf-8")):
        yield _resolved(page, path)


def _resolved(page: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _indented(text: str) -> Iterator[str]:
    """The lines, indented by four spaces per list that they are in."""
    fenced = False
    before = ""
    # The columns where the texts of the enclosing lists begin.
    columns: list[int] = []
    apart = False
    for line in text.splitlines():
        spaces = len(line) - len(line.lstrip())
        marker = None if fenced else _MARKER.match(line.lstrip())
        if line and not fenced and (marker or not before):
            depth = sum(column <= spaces for column in columns)
            if marker and before and (apart or depth == len(columns)):
                yield ""
            columns = columns[:depth]
        apart = not marker and (apart or not line)
        if marker:
            inside = len(columns)
            columns.append(spaces + len(marker[0]))
        else:
            inside = sum(column <= spaces for column in columns)
        if line.lstrip().startswith("```"):
            fenced = not fenced
        was = columns[inside - 1] if inside else 0
        yield " " * (4 * inside) + line[was:]
        before = line
