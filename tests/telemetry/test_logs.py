"""Logs: one event per line."""

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from metrics_server.telemetry import logs

PRODUCT = "metrics_server.sources.pages.scraper"
LIBRARY = "some.library"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Logging is global to the process: restore it."""
    root, aiohttp = logging.getLogger(), logging.getLogger("aiohttp")
    handlers, level, aiohttp_level = root.handlers[:], root.level, aiohttp.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
    aiohttp.setLevel(aiohttp_level)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The logged lines; nothing goes to the standard output."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def fail() -> None:
    """Log an exception, from the product and from a library."""
    try:
        int("two\nlines")
    except ValueError:
        structlog.stdlib.get_logger(PRODUCT).exception("it failed", path="/apis")
        logging.getLogger(LIBRARY).exception("it failed, too")


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    """An event is a line with its time, level and values."""
    logs.configure("info", "text")
    structlog.stdlib.get_logger(PRODUCT).warning("scrape failed", target="http://10.0.0.7", n=2)
    (line,) = lines(capsys)
    time, rest = line.split(" ", 1)
    assert time.endswith("Z")
    assert rest == "[warning  ] scrape failed n=2 target=http://10.0.0.7"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same, as a JSON object."""
    logs.configure("info", "json")
    structlog.stdlib.get_logger(PRODUCT).warning("scrape failed", target="http://10.0.0.7", n=2)
    (line,) = lines(capsys)
    found = json.loads(line)
    assert found.pop("timestamp").endswith("Z")
    assert found == {
        "event": "scrape failed",
        "level": "warning",
        "target": "http://10.0.0.7",
        "n": 2,
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_libraries_log_in_the_same_form(
    capsys: pytest.CaptureFixture[str], form: logs.LogFormat
) -> None:
    """A library's standard-library logging has the product's own format."""
    logs.configure("info", form)
    structlog.stdlib.get_logger(PRODUCT).info("one fact", n=1)
    logging.getLogger(LIBRARY).info("one %s", "fact", extra={"n": 1})
    ours, theirs = lines(capsys)
    if form == "json":
        assert {**json.loads(ours), "timestamp": ""} == {**json.loads(theirs), "timestamp": ""}
    else:
        assert ours.split(" ", 1)[1] == theirs.split(" ", 1)[1]


@pytest.mark.parametrize("form", ["text", "json"])
def test_line_breaks_make_no_lines(
    capsys: pytest.CaptureFixture[str], form: logs.LogFormat
) -> None:
    """An event is one line, whatever it contains: nobody can forge another."""
    logs.configure("info", form)
    structlog.stdlib.get_logger(PRODUCT).info("one\ntwo", reason="three\r\nfour")
    logging.getLogger(LIBRARY).info("one\ntwo")
    found = lines(capsys)
    assert len(found) == 2
    assert all("two" in line for line in found)


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_an_exception_in_text_is_a_line(
    capsys: pytest.CaptureFixture[str], level: logs.LogLevel
) -> None:
    """An exception is logged with its type, message and location, without a traceback."""
    logs.configure(level, "text")
    fail()
    ours, theirs = lines(capsys)
    for line in (ours, theirs):
        assert "error=" in line
        assert "ValueError: invalid literal for int()" in line
        assert "test_logs.py:" in line
        assert "Traceback" not in line
    assert "path=/apis" in ours


def test_an_exception_in_json_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The same, as a JSON object."""
    logs.configure("info", "json")
    fail()
    for line in lines(capsys):
        found = json.loads(line)
        assert found["error"] == r"ValueError: invalid literal for int() with base 10: 'two\nlines'"
        assert "exception" not in found


def test_a_tls_connection_that_was_closed_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The loop calls it a fatal error; only other errors of connections are logged."""
    logs.configure("info", "json")
    loop = asyncio.new_event_loop()
    closed = "unable to perform operation on <TCPTransport closed=True>; the handler is closed"
    for message, error in (
        ("Fatal error on SSL protocol", RuntimeError(closed)),
        ("Fatal error on SSL protocol", RuntimeError("another")),
        ("Fatal error on transport", RuntimeError(closed)),
    ):
        loop.call_exception_handler({"message": message, "exception": error})
    loop.close()
    told = [json.loads(line) for line in lines(capsys)]
    assert [(one["level"], one["error"]) for one in told] == [
        ("error", "RuntimeError: another"),
        ("error", f"RuntimeError: {closed}"),
    ]


def test_an_exception_that_is_handed_over(capsys: pytest.CaptureFixture[str]) -> None:
    """An exception can be logged outside its handler, and "none" is none."""
    logs.configure("info", "json")
    log = structlog.stdlib.get_logger(PRODUCT)
    log.error("it failed", exc_info=ValueError("no place"))
    log.error("it failed", exc_info=True)  # noqa: LOG014 - a slip, which does no harm
    first, second = (json.loads(line) for line in lines(capsys))
    assert first["error"] == "ValueError: no place"
    assert "error" not in second
    assert "at" not in first


def test_a_traceback_is_for_debug(capsys: pytest.CaptureFixture[str]) -> None:
    """At level debug there is a traceback, in text over several lines, in JSON in one."""
    logs.configure("debug", "text")
    fail()
    text = "\n".join(lines(capsys))
    assert text.count("Traceback (most recent call last)") == 2
    logs.configure("debug", "json")
    fail()
    found = [json.loads(line) for line in lines(capsys)]
    assert len(found) == 2
    assert all("Traceback (most recent call last)" in one["exception"] for one in found)


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
@pytest.mark.parametrize("name", [PRODUCT, LIBRARY])
def test_the_level_is_honoured(
    capsys: pytest.CaptureFixture[str], level: logs.LogLevel, name: str
) -> None:
    """Nothing below the level is logged, whoever logs it."""
    logs.configure(level, "json")
    levels = ["debug", "info", "warning", "error"]
    for one in levels:
        structlog.stdlib.get_logger(name).log(getattr(logging, one.upper()), "ours")
        logging.getLogger(name).log(getattr(logging, one.upper()), "theirs")
    told = [json.loads(line)["level"] for line in lines(capsys)]
    assert told == [one for one in levels[levels.index(level) :] for _ in range(2)]


def test_broken_connections_of_clients_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """A disconnecting client, which aiohttp's server warns about, is not logged."""
    logs.configure("debug", "json")
    logging.getLogger("aiohttp.server").warning("a client is gone")
    logging.getLogger("aiohttp.server").error("a fault")
    assert [json.loads(line)["event"] for line in lines(capsys)] == ["a fault"]


def test_configuring_again_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    """Configured twice, an event is still one line."""
    logs.configure("info", "text")
    logs.configure("info", "json")
    structlog.stdlib.get_logger(PRODUCT).info("one")
    (line,) = lines(capsys)
    assert json.loads(line)["event"] == "one"
