"""Authorities that flags name by files, followed for as long as the server runs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import structlog

from metrics_server.auth.client_certificates import ClientCAs
from metrics_server.common.outages import Outages
from metrics_server.errors import ConfigurationError

log = structlog.stdlib.get_logger(__name__)


class TrustFiles:
    """Follows the content of files of authorities.

    Content is compared, not the time of a change, as for serving certificates. A file that cannot
    be used any more (it is gone, empty or garbled) changes nothing: an accident there must not
    lock everybody out. To stop trusting an authority, take it out of its file.

    Args:
        files: by the flag that names it.
        interval: how often the files are read, in seconds.
        sleep: waits for a number of seconds.

    Attributes:
        content: by flag, the PEM that is trusted.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        *,
        interval: float = 5,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.content: dict[str, bytes] = {}
        self._files = files
        self._interval = interval
        self._sleep = sleep
        self._outages = Outages(
            log,
            "kept the authorities that a file held before",
            "the authorities of a file can be used again",
            key="flag",
            each_error=True,
        )

    async def load(self) -> None:
        """Read every file for the first time.

        Raises:
            ConfigurationError: one of them cannot be used.
        """
        for flag, path in self._files.items():
            self.content[flag] = await asyncio.to_thread(_read, flag, path)

    async def follow(self, changed: Callable[[], None]) -> None:
        """Call a function after each change of `content`, until cancelled."""
        while True:
            await self._sleep(self._interval)
            if await self._read_again():
                changed()

    async def _read_again(self) -> bool:
        """Read every file; whether any of them has changed."""
        before = dict(self.content)
        for flag, path in self._files.items():
            try:
                self.content[flag] = await asyncio.to_thread(_read, flag, path)
            except ConfigurationError as error:
                self._outages.failed(flag, error)
            else:
                self._outages.recovered(flag)
                if self.content[flag] != before[flag]:
                    log.info("took over the authorities of a file as it has changed", flag=flag)
        return self.content != before


def _read(flag: str, path: Path) -> bytes:
    try:
        pem = path.read_bytes()
        ClientCAs(pem)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{flag} {path} cannot be used: {error}") from error
    return pem
