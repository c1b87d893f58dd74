"""The documentation site's search: its index, and in a browser that can reach nothing else."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.deployments.manifests import ROOT
from tests.docs.site import OUTSIDE, place
from tests.support.browser import Browser, browser, needs_chromium
from tests.support.guides import by_name

pytestmark = pytest.mark.slow

# What people search for, and where it is.
FOUND = {
    "no exporter is ready on": "troubleshooting.html#no-exporter",
    "FailedDiscoveryCheck": "troubleshooting.html#faileddiscoverycheck-or-available-is-false",
    "the demo's cluster is read-only": "troubleshooting.html#the-demo",
    "lastKnownMaxAge": "reference.html",
    "SelectorMatchesNoPods": "troubleshooting.html#warnings-on-an-hpa",
}
SHOWN = ".md-search-result__link"


def test_every_page_is_in_the_index(site: Path) -> None:
    """With its text, so that a search finds messages, too."""
    entries = json.loads((site / "search" / "search_index.json").read_bytes())["docs"]
    pages = {entry["location"].partition("#")[0] for entry in entries}
    sources = [*OUTSIDE, *(by_name(path) for path in ROOT.glob("docs/*.md"))]
    wanted = {place(path).removesuffix(".md") + ".html" for path in sources}
    # A folder's README is its index page.
    assert {path.replace("README.html", "index.html") for path in wanted} <= {
        page or "index.html" for page in pages
    }
    for words, location in FOUND.items():
        texts = [
            entry["title"] + entry["text"] for entry in entries if entry["location"] == location
        ]
        texts += [e["text"] for e in entries if e["location"].startswith(f"{location}#")]
        plain = "".join(texts).replace("&#39;", "'")
        assert words in plain, (words, location)


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    """The site on loopback."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def shown() -> Iterator[Browser]:
    """A browser that can reach only this machine."""
    with browser() as found:
        yield found


def links(page: Browser) -> list[str]:
    """The links of a search's results, best first."""
    script = f"return [...document.querySelectorAll('{SHOWN}')].map((a) => a.href)"
    found = page.run(script)
    assert isinstance(found, list)
    return [str(link) for link in found]


@needs_chromium
@pytest.mark.parametrize(("words", "location"), FOUND.items())
def test_a_search_finds_the_page(url: str, shown: Browser, words: str, location: str) -> None:
    """Among the first results, for words that people see."""
    shown.driver.get(f"{url}?q={quote(words)}")
    shown.until(lambda: links(shown), "there are results")
    # A page may have several results in a row.
    pages = list(dict.fromkeys(link.partition("?")[0] for link in links(shown)))
    assert f"{url}{location.partition('#')[0]}" in pages[:2]
    loaded = shown.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert isinstance(loaded, list)
    assert len(loaded) > 3
    assert all(str(name).startswith(url) for name in loaded)
    assert shown.errors() == []
