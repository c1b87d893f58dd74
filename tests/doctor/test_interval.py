"""How often an exporter's values change, if its page cannot be read for the whole time."""

from collections.abc import Sequence

import pytest

from metrics_server.doctor.checks import interval
from metrics_server.doctor.checks.interval import Watched
from metrics_server.errors import ScrapeError
from metrics_server.rules.presets import DIALECTS
from metrics_server.sources.exporters.page import Page
from tests.support.exporters import page

URL = "http://10.0.0.1:9400/metrics"
LONG = 40.0


@pytest.mark.parametrize(
    ("values", "summary"),
    [
        ([], "no page that names a pod was read twice"),
        ([40], "no page that names a pod was read twice"),
        ([40, 40], "values did not change twice within "),
        ([40, 50], "values did not change twice within "),
        ([40, 50, 40], "values change about every "),
    ],
)
async def test_a_page_that_can_no_longer_be_read(
    monkeypatch: pytest.MonkeyPatch, values: Sequence[float], summary: str
) -> None:
    """It was only watched until then: that does not show that values lag."""
    monkeypatch.setattr(interval, "_STEP_SECONDS", 0)
    left = [*values]

    async def read() -> Page | ScrapeError:
        if not left:
            return ScrapeError("did not answer within 5 s", "timeout")
        return Page(URL, page({("ml", "a"): [left.pop(0)]}).encode(), 0.0, DIALECTS)

    watched = await interval.watch(read, LONG)
    verdict = interval.judge({}, {URL: watched}, {})
    assert verdict.problems == ()
    assert (verdict.skipped or verdict.summary).startswith(summary)


def test_a_page_that_was_watched_for_long_enough() -> None:
    """Earlier observations may well show that values lag."""
    assert interval._interval(Watched((), 15)) == 15
    assert interval._interval(Watched((4,), 15)) == 11
    assert interval._interval(Watched((4, 5), 15)) == 1
