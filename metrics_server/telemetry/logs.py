"""Logging: one line per event, as text or JSON."""

import logging
import sys
import traceback
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from metrics_server.telemetry.log_writer import LogWriter

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


def configure(level: LogLevel = "info", form: LogFormat = "text") -> None:
    """Send the logs of the product and its libraries to stderr in one format.

    Lines are written in a thread, so logging never waits for a reader. An exception is reported by
    its message and place, with a traceback only at level "debug".

    Args:
        level: the lowest level logged.
        form: "text" for people, "json" for machines: one object per line.
    """
    processors: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info if level == "debug" else _exception_in_brief,
    ]
    renderer: Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        processors.append(_event_on_one_line)
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *processors,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = _Handler(LogWriter(sys.stderr))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    for former in root.handlers:
        if isinstance(former, _Handler):
            former.close()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # aiohttp logs every broken client connection, which nobody here can fix.
    logging.getLogger("aiohttp").setLevel(logging.ERROR)
    logging.getLogger("asyncio").addFilter(_is_no_closed_connection)


def _is_no_closed_connection(record: logging.LogRecord) -> bool:
    """Whether a log record of the event loop says more than that a TLS connection was closed.

    uvloop logs a fatal error if it still had to answer the peer's TLS at that moment. The user of
    the connection gets an exception and logs which connection it was.
    """
    error = record.exc_info[1] if record.exc_info else None
    closed = isinstance(error, RuntimeError) and "the handler is closed" in str(error)
    return not (closed and record.getMessage().startswith("Fatal error on SSL protocol"))


def dropped() -> int:
    """How many lines were dropped because nobody read them."""
    return sum(one.dropped for one in logging.getLogger().handlers if isinstance(one, _Handler))


class _Handler(logging.Handler):
    """Passes lines to a writer; logs how many were dropped once there is room again."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer
        self._told = 0

    @property
    def dropped(self) -> int:
        return self._writer.dropped

    def emit(self, record: logging.LogRecord) -> None:
        try:
            taken = self._writer.write(self.format(record))
            if taken and self.dropped > self._told:
                count, self._told = self.dropped - self._told, self.dropped
                told = {"msg": "log lines dropped", "levelno": logging.WARNING}
                said = logging.makeLogRecord(
                    {**told, "levelname": "WARNING", "name": __name__, "n": count}
                )
                self._writer.write(self.format(said))
        except Exception:  # noqa: BLE001 - as every handler of the standard library has it
            self.handleError(record)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
        super().close()


def _exception_in_brief(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Log an exception's type, message and place instead of a traceback."""
    given = event.pop("exc_info", None)
    if not given:
        return event
    if isinstance(given, tuple):
        error = given[1]
    else:
        error = given if isinstance(given, BaseException) else sys.exception()
    if error is not None:
        event["error"] = f"{type(error).__name__}: {error}"
        if frames := traceback.extract_tb(error.__traceback__):
            event["at"] = f"{frames[-1].filename}:{frames[-1].lineno}"
    return event


def _event_on_one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape line breaks in an event; other values are always escaped."""
    event["event"] = r"\n".join(str(event["event"]).splitlines())
    return event
