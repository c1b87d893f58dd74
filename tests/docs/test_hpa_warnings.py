"""The troubleshooting page explains every event on an HPA."""

import re
from typing import get_args

import pytest

from metrics_server.advising.fallbacks import FallbackReason
from metrics_server.advising.findings import Reason
from tests.deployments.manifests import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("heading", "reasons"),
    [
        ("Warnings on an HPA", get_args(Reason)),
        ("Events when a metric falls back", get_args(FallbackReason)),
    ],
)
def test_every_reason_of_an_event_is_explained(heading: str, reasons: tuple[str, ...]) -> None:
    """The table's first column has each of them once, and nothing else."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = section.split("|---|---|---|\n")[1].split("\n\n")[0]
    first = [row.split(" | ")[0] for row in table.splitlines()]
    named = re.findall(r"`(\w+)`", " ".join(first))
    assert sorted(named) == sorted(reasons)
