"""The documentation builds as a site without warnings, and loads nothing from elsewhere."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.deployments.manifests import ROOT
from tests.docs.site import OUTSIDE, for_site, place, repository_path
from tests.support.building import build
from tests.support.guides import by_name, text_of

PAGES = [*(ROOT / path for path in OUTSIDE), *sorted(ROOT.glob("docs/*.md"))]
# Parts of a page that one renderer may find and another not.
PARTS = ("h1", "h2", "h3", "h4", "table", "tr", "td", "th", "pre", "ol", "ul", "li", "p")

slow = pytest.mark.slow
every_page = pytest.mark.parametrize("page", PAGES, ids=by_name)


class Elements(HTMLParser):
    """Counts the elements in a page's text, and lists what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.loads: list[str] = []
        self._article = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count one, and note its URL unless a reader must click on it."""
        self._article = self._article or tag == "article"
        if self._article and tag in PARTS:
            self.counts[tag] += 1
        for name, value in attrs:
            if name == "src" or (name == "href" and tag == "link"):
                self.loads.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        """What follows the article is not part of the page."""
        self._article = self._article and tag != "article"


def elements(html: str) -> Elements:
    """The elements of a page."""
    found = Elements()
    found.feed(html)
    return found


def rendered(site: Path, page: Path) -> str:
    """A repository page as the site renders it."""
    uri = re.sub(r"(?:README|index)\.md$", "index.md", place(by_name(page)))
    return (site / uri).with_suffix(".html").read_text(encoding="utf-8")


@slow
@every_page
def test_a_page_has_the_same_parts_as_on_a_forge(site: Path, page: Path) -> None:
    """Each list, table and block is one in the site, too."""
    forge = elements(f"<article>{MarkdownIt('gfm-like', {'linkify': False}).render(text_of(page))}")
    ours = elements(rendered(site, page))
    # One renderer puts a tight list entry in a paragraph, the other does not.
    wanted, found = (Counter(one.counts) for one in (forge, ours))
    del wanted["p"], found["p"]
    assert found == wanted


@slow
def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """No page has a font, script, style or picture from another server."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    loaded = [url for page in pages for url in elements(page.read_text(encoding="utf-8")).loads]
    assert any(url.endswith(".js") for url in loaded)
    assert [url for url in loaded if re.match(r"[a-z]+:|//", url)] == []
    styles = "".join(style.read_text(encoding="utf-8") for style in site.rglob("*.css"))
    assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", styles)


@slow
def test_no_two_pages_differ_only_in_case(site: Path) -> None:
    """Some file systems would take them for one."""
    names = [str(path.relative_to(site)).lower() for path in site.rglob("*")]
    assert len(names) == len(set(names))


@slow
def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    """To a heading, a page, or another file of the repository."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in (*OUTSIDE, *linked_files()):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "docs", copy / "docs")
    shutil.copy(ROOT / "mkdocs.yml", copy)
    (copy / "tests/docs").mkdir(parents=True)
    shutil.copy(ROOT / "tests/docs/site.py", copy / "tests/docs")
    broken = {
        "install.md#no-such-heading": "does not contain an anchor",
        "no-such-page.md": "not found among documentation files",
        "../deployments/no-such-file.yaml": "not found among documentation files",
    }
    with (copy / "docs/llm.md").open("a", encoding="utf-8") as page:
        page.write("".join(f"\nA [link]({link}).\n" for link in broken))
    done = build(copy, tmp_path / "site")
    assert done.returncode != 0
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert len(warnings) == len(broken), done.stderr
    for link, warning in broken.items():
        assert any(link.removeprefix("../") in line and warning in line for line in warnings), link


def linked_files() -> Iterator[str]:
    """Files that pages link to and that are not pages."""
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+\.(?:yaml|lock))[)#]", text_of(page)):
            yield str((page.parent / link).resolve().relative_to(ROOT))


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("README.md", "docs/install.md#with-helm", "install.md#with-helm"),
        ("docs/install.md", "../deployments/README.md", "deployments/README.md"),
        ("deployments/README.md", "../docs/llm.md", "../llm.md"),
        ("docs/install.md", "../CHANGELOG.md", "project/changelog.md"),
        ("docs/security.md", "llm.md", "llm.md"),
    ],
)
def test_a_link_leads_to_its_place_in_the_site(page: str, link: str, there: str) -> None:
    """To the same file as on a forge."""
    assert for_site(f"[one]({link})", page) == f"[one]({there})"


@every_page
def test_places_can_be_found_again(page: Path) -> None:
    """The place of each page leads back to its path."""
    path = by_name(page)
    assert repository_path(place(path)) == path


def test_lists_are_indented_as_the_renderer_wants_it() -> None:
    """By four spaces, with a blank line before the first entry; blocks are left alone."""
    text = (
        "Do:\n- a\n  - b\n    c\n\n1. one\n   more\n\n   ```sh\n   ls\n   ```\n2. two\n\n"
        "```\n- a\n```"
    )
    assert for_site(text, "README.md").splitlines() == [
        *("Do:", "", "- a", "", "    - b", "        c", ""),
        *("1. one", "    more", "", "    ```sh", "    ls", "    ```", "", "2. two", ""),
        *("```", "- a", "```"),
    ]
