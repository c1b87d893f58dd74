"""The troubleshooting page explains every warning about an HPA."""

import re
from typing import get_args

from metrics_server.advising.findings import Reason
from tests.deployments.manifests import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def test_every_reason_of_a_warning_is_explained() -> None:
    """Each is in the first column of the table, once, and nothing else is."""
    section = PAGE.split("\n## Warnings on an HPA\n")[1].split("\n## ")[0]
    table = section.split("|---|---|---|\n")[1].split("\n\n")[0]
    first = [row.split(" | ")[0] for row in table.splitlines()]
    named = re.findall(r"`(\w+)`", " ".join(first))
    assert sorted(named) == sorted(get_args(Reason))
