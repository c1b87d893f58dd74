"""The commands' messages are explained, and quoted ones exist."""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.deployments.manifests import ROOT
from tests.docs.test_troubleshooting import literals
from tests.support.guides import text_of

PACKAGE = ROOT / "metrics_server"
HEADING = "\n## Messages of the commands\n"
SECTION = text_of(ROOT / "docs" / "troubleshooting.md").partition(HEADING)[2].partition("\n## ")[0]
QUOTED = re.findall(r"^\| `([^`]+)`", SECTION, re.MULTILINE)
# Each prints its own messages, for the person at the command line.
SPEAKING = (
    "commands/ask.py",
    "commands/looking.py",
    "simulator/demo/run.py",
    "simulator/page/live.py",
    "doctor/using.py",
)
# Printed if the demo itself is broken.
BUGS = {"the demo's server must create its own certificate"}


def parts(message: str) -> list[str]:
    """The literal parts, if they are long enough to be found."""
    cut = re.split("…|\\.\\.\\.", re.sub(r"\s+", " ", message))
    return [part.strip(" ;:,()'") for part in cut if len(part.strip(" ;:,()'")) > 8]


def raised(module: Path) -> Iterator[str]:
    """The messages of the errors that a module raises, with … for fields."""
    for node in ast.walk(ast.parse(text_of(module))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            message = node.args[0]
            if node.func.id not in ("ConfigurationError", "KubernetesError"):
                continue
            if isinstance(message, ast.Constant):
                yield str(message.value)
            elif isinstance(message, ast.JoinedStr):
                values = message.values
                yield "".join(
                    str(one.value) if isinstance(one, ast.Constant) else "…" for one in values
                )


def of_the_demo() -> Iterator[str]:
    """The answers of the demo's cluster to kubectl."""
    for text in literals(PACKAGE / "simulator/demo/read_only.py"):
        if text.startswith("the demo's "):
            yield text


MESSAGES = [text for name in SPEAKING for text in raised(PACKAGE / name) if text not in BUGS]
MESSAGES += of_the_demo()


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_is_explained(message: str) -> None:
    """By a row that quotes it, or enough of it to find it."""
    assert any(part in message for quote in QUOTED for part in parts(quote)), message


def test_there_are_messages() -> None:
    """From most of these modules."""
    assert len(MESSAGES) >= 12


@cache
def said() -> Sequence[str]:
    """All strings of the program."""
    return [
        re.sub(r"\s+", " ", text) for module in PACKAGE.rglob("*.py") for text in literals(module)
    ]


@pytest.mark.parametrize("quote", QUOTED)
def test_every_message_that_is_quoted_exists(quote: str) -> None:
    """Word for word, except for fields."""
    wanted = parts(quote)
    assert wanted
    for part in wanted:
        assert any(part in text for text in said()), part
