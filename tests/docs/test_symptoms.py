"""The index of symptoms has the words that people search for, and leads to every fix."""

import re

import pytest

from metrics_server.errors import RequestError
from tests.deployments.manifests import ROOT
from tests.docs.test_troubleshooting import literals
from tests.support.guides import anchors, inline, text_of

PAGE = ROOT / "docs" / "symptoms.md"
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
PACKAGE = ROOT / "metrics_server"

# Texts of Kubernetes, kubectl and container runtimes, and ours that are not messages.
SEARCHED = (
    "<unknown>",
    "FailedGetPodsMetric",
    "FailedGetExternalMetric",
    "FailedDiscoveryCheck",
    "x509",
    "403",
    "401",
    "no metrics returned",
    "scales down under load",
    "to `maxReplicas` and stays there",
    "stays at 0 replicas",
    "between 60 and 90 %",
    "simulated",
    "currently unable to handle the request",
    "CrashLoopBackOff",
    "Terminating",
)
# Parts of the page where each section is a separate symptom.
PARTS = (
    "Surprising numbers",
    "The APIService",
    "Errors about measurements",
    "Messages of the commands",
)
# Sections about other sources' metrics, which their messages lead to.
OTHERS = {"no-page", "pages-failed"}


@pytest.mark.parametrize("words", SEARCHED)
def test_words_are_found(words: str) -> None:
    """With the browser's search."""
    assert words in text_of(PAGE)


@pytest.mark.parametrize("part", PARTS)
def test_every_section_is_linked(part: str) -> None:
    """From at least one row."""
    text = text_of(TROUBLESHOOTING).split(f"\n## {part}\n")[1].split("\n## ")[0]
    headings = re.findall(r"^### (.+)$", text, re.MULTILINE)
    linked = set(re.findall(r"troubleshooting\.md#([\w-]+)", text_of(PAGE)))
    wanted = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings} - OTHERS
    assert wanted
    assert wanted <= linked
    assert linked <= anchors(TROUBLESHOOTING)


@pytest.mark.slow
def test_messages_of_ours_exist() -> None:
    """Lower-case phrases in the first column are the server's, or listed above or below."""
    others = (
        *("invalid metrics", "no metrics returned", "the server could not find", "no custom"),
        *("the server is currently", "connection refused", "cannot list", "cannot get"),
        *("context deadline", "no route", "x509: "),
        *(word for word in SEARCHED if " " in word),
    )
    said = [text for module in PACKAGE.rglob("*.py") for text in literals(module)]
    said += [error.__doc__ or "" for error in RequestError.__subclasses__()]
    rows = re.findall(r"^\| (.+?) \| ", text_of(PAGE), re.MULTILINE)
    shown = [
        code
        for code in inline(PAGE)
        if re.match(r"[a-z]+ [a-z]", code) and any(f"`{code}`" in row for row in rows)
    ]
    ours = [code for code in shown if not code.startswith((*others, "kubectl"))]
    assert len(ours) > 6
    for code in ours:
        assert any(code in text for text in said), code
