"""Logging when something starts to fail, keeps failing, and recovers."""

from typing import cast

import structlog
from structlog.testing import capture_logs

from metrics_server.common.outages import Outage, Outages
from tests.support.clock import Clock

log = structlog.stdlib.get_logger(__name__)


def test_an_outage_is_logged_when_it_begins_and_when_it_ends() -> None:
    """Beginning and end are logged once, however often it is tried, and whatever the error."""
    outage = Outage(log, "it fails", "it works again")
    with capture_logs() as logs:
        outage.recovered()
        assert [outage.failed(ValueError(why), code=5) for why in ("a", "a", "b")] == [
            True,
            False,
            False,
        ]
        errors = [outage.error]
        outage.recovered()
        errors.append(outage.error)
        outage.recovered()
    assert errors == ["b", None]
    assert logs == [
        {"log_level": "warning", "event": "it fails", "error": "a", "code": 5},
        {"log_level": "info", "event": "it works again"},
    ]


def test_another_error_is_logged_where_that_is_wanted() -> None:
    """The same error is not logged again until after a success."""
    outage = Outage(log, "it fails", "it works again", each_error=True)
    with capture_logs() as logs:
        for why in ("a", "a", "b", "a"):
            outage.failed(why)
        outage.recovered()
        outage.failed("a")
    assert [line.get("error") for line in logs] == ["a", "b", "a", None, "a"]


def test_one_that_comes_back_soon_is_no_warning() -> None:
    """Something that keeps failing and recovering is one warning per quiet time."""
    clock = Clock()
    outage = Outage(log, "it fails", "it works again", quiet=600, clock=clock)
    levels = []
    for _ in range(5):
        with capture_logs() as logs:
            outage.failed("a")
            outage.recovered()
        levels.append(logs[0]["log_level"])
        clock.advance(200)
    assert levels == ["warning", "info", "info", "warning", "info"]


def test_things_fail_and_recover_each_for_itself() -> None:
    """Each line has its own name, under the chosen key."""
    outages = Outages(log, "it fails", "it works again", key="target")
    with capture_logs() as logs:
        for name in ("a", "b", "a"):
            outages.failed(name, f"no {name}", reason="timeout")
        outages.recovered("a")
        outages.recovered("a")
        outages.recovered("c")
    assert [(line["event"], line["target"], line.get("error")) for line in logs] == [
        ("it fails", "a", "no a"),
        ("it fails", "b", "no b"),
        ("it works again", "a", None),
    ]
    assert logs[0]["reason"] == "timeout"


def test_not_all_that_fail_are_remembered() -> None:
    """A cluster may always have new names: those that failed longest ago are forgotten."""
    outages = Outages(log, "it fails", "it works again", key="target", most=2)
    with capture_logs() as logs:
        for name in ("a", "b", "a", "c"):
            outages.failed(name, "no")
        for name in ("a", "b", "c"):
            outages.recovered(name)
    again = [cast("str", line["target"]) for line in logs if line["event"] == "it works again"]
    assert again == ["a", "c"]
