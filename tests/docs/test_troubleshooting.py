"""Every message is explained, and every quoted message exists."""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import get_args

from msgspec import structs

from metrics_server.errors import QueryReason, RequestError
from metrics_server.rules.vendors.registry import VENDORS
from tests.deployments.manifests import ROOT
from tests.support.guides import anchors, inline, prose, text_of

TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
PACKAGE = ROOT / "metrics_server"


@cache
def literals(module: Path) -> Sequence[str]:
    """A module's strings except docstrings, with … for fields."""
    tree = ast.parse(text_of(module))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            skipped |= set(node.values)
    texts: list[str] = []
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(map(_part, node.values)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return texts


def _part(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else "…"


# These produce messages for readers of `kubectl describe hpa` or the log.
SPEAKING = (
    "measuring/provider.py",
    "common/advice.py",
    "measuring/aggregation.py",
    "errors.py",
    "sources/exporters/hints.py",
    "sources/pages/scraper.py",
    "sources/pages/fetching.py",
    "http/exchange.py",
    "sources/pages/parsing.py",
    "sources/exporters/targets.py",
    "sources/pages/access.py",
    "sources/prometheus/client.py",
    "sources/prometheus/refusals.py",
    "sources/prometheus/vector.py",
    "sources/unmatched.py",
    "sources/exporters/selecting.py",
    "sources/prometheus/pages.py",
    "sources/prometheus/queries.py",
    "sources/prometheus/samples.py",
    "sources/prometheus/source.py",
)
# Strings in these modules that are not messages, or only part of one.
PARTS = {
    "text/plain;version=0.0.4",
    "application/openmetrics-text",
    "nodes that they do not say",
}


def sentences() -> Iterator[str]:
    """Every message of these modules."""
    for module in SPEAKING:
        for text in literals(PACKAGE / module):
            if " " in text.strip() and len(text) > 20 and text not in PARTS:
                yield text.strip()


@cache
def quoted(page: Path) -> Sequence[str]:
    """The parts between … of everything between backticks, if long enough."""
    return [
        part.strip()
        for code in inline(page)
        for part in code.split("…")
        if " " in part.strip() and len(part.strip()) > 11
    ]


def test_every_message_is_explained() -> None:
    """The troubleshooting page quotes each message, or enough of it to find it."""
    parts, messages = quoted(TROUBLESHOOTING), list(sentences())
    assert len(messages) > 100
    assert [text for text in messages if not any(part in text for part in parts)] == []


def test_what_a_vendors_exporter_needs_is_explained() -> None:
    """Vendor-specific parts of messages are on the page too."""
    page = text_of(TROUBLESHOOTING)
    for vendor in VENDORS:
        if vendor.hints is not None:
            for hint in structs.astuple(vendor.hints):
                assert hint in page


def _errors(root: type[RequestError] = RequestError) -> Iterator[type[RequestError]]:
    for error in root.__subclasses__():
        yield error
        yield from _errors(error)


def test_every_reason_has_its_heading() -> None:
    """Each `reason` in the metrics has a heading, so that links can lead to it."""
    reasons = {error.reason for error in _errors()} - {"internal"}
    reasons |= {"no-exporter", "exporters-failed", "no-page", "pages-failed", "no-sample"}
    reasons.add("prometheus-failed")
    assert reasons <= anchors(TROUBLESHOOTING)


def test_every_outcome_of_a_failed_scrape_is_explained() -> None:
    """Each outcome of failed scrapes in the metrics is in the table of its messages."""
    modules = (PACKAGE / "sources").rglob("*.py")
    source = "".join(map(text_of, modules))
    outcomes = set(re.findall(r'ScrapeError\([^)]*?,\s*"([a-z-]+)"', source, re.DOTALL))
    assert {"timeout", "unreachable"} <= outcomes
    rows = last_cells(section("exporters-failed"))
    assert outcomes <= rows
    assert rows <= {*outcomes, "credentials", "http-status", "too-large"}


def test_every_reason_of_a_failed_query_is_explained() -> None:
    """The table of its messages has each of them, and no other."""
    assert last_cells(section("prometheus-failed")) == set(get_args(QueryReason))


def section(reason: str) -> str:
    """The page's section for a reason."""
    return text_of(TROUBLESHOOTING).partition(f"### `{reason}`\n")[2].partition("\n##")[0]


def last_cells(text: str) -> set[str]:
    """The words in a table's last column."""
    return set(re.findall(r"\| `([a-z-]+)` \|$", text, re.MULTILINE))


def test_every_message_that_is_quoted_is_one() -> None:
    """The first column of a table of messages, and entries' beginnings, are real messages."""
    said = [
        re.sub(r"\s+", " ", text)
        for module in PACKAGE.rglob("*.py")
        if "demo" not in module.relative_to(PACKAGE).parts
        for text in literals(module)
    ]
    text = prose(TROUBLESHOOTING)
    shown = re.findall(r"^- `([^`]+)`", text, re.MULTILINE)
    for table in re.findall(r"^\| message \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE):
        shown += re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    assert len(shown) > 30
    foreign = ("certificate signed", "certificate is valid", "certificate has expired")
    for message in shown:
        if message.startswith(foreign):
            continue
        for part in re.sub(r"\s+", " ", message).split("…"):
            words = part.strip(' "():;,')
            assert any(words in one for one in said), words
