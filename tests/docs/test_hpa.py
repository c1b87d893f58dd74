"""docs/hpa.md has the results of the controller's own arithmetic."""

import re

import pytest

from metrics_server.simulator.autoscaling import pods
from metrics_server.simulator.autoscaling.hpa import Item, PodsMetric, Proposal, Scale, ScaledPod
from tests.deployments.manifests import ROOT

GUIDE = (ROOT / "docs" / "hpa.md").read_text(encoding="utf-8")
TARGET = 50
ROW = re.compile(
    r"^\| (?P<measured>\d) at (?P<value>\d+) %(?:, (?P<missing>\d) without[^|]*)?"
    r"(?P<pending>, and a fifth that is Pending)? \| (?P<replicas>\d+)\D",
    re.MULTILINE,
)
ROWS = [match.groupdict() for match in ROW.finditer(GUIDE)]


def test_all_rows_are_read() -> None:
    """Both kinds of gaps are shown in both directions."""
    assert f"With a target of {TARGET} and four Running pods" in GUIDE
    assert len(ROWS) == 8
    for kind in ("missing", "pending"):
        assert {row["value"] for row in ROWS if row[kind]} == {"100", "10"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(filter(None, row.values())))
def test_each_row_is_what_the_controller_does(row: dict[str, str | None]) -> None:
    """A row's replicas follow from its pods."""
    measured, missing = int(row["measured"] or 0), int(row["missing"] or 0)
    assert measured + missing == 4
    running = tuple(ScaledPod(str(number)) for number in range(4))
    waiting = (ScaledPod("4", "Pending", ready=False),) if row["pending"] else ()
    answer = [Item(int(row["value"] or 0) * 1000, pod.name) for pod in running[:measured]]
    scale = Scale(4 + len(waiting), 4 + len(waiting), running + waiting)
    proposal = pods.propose(PodsMetric("gpu_utilization", TARGET * 1000), scale, tuple(answer))
    assert isinstance(proposal, Proposal)
    assert proposal.replicas == int(row["replicas"] or 0)
