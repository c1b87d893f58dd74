"""CA bundles in files that flags name, reloaded when they change."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import structlog

from metrics_server.auth.client_certificates import ClientCAs
from metrics_server.common.outages import Outages
from metrics_server.errors import ConfigurationError

log = structlog.stdlib.get_logger(__name__)


class TrustFiles:
    """Reloads files of CA certificates when they change.

    The contents are compared, not modification times, as for serving certificates. A file that
    becomes unusable (missing, empty or malformed) changes nothing: an accident there must not lock
    everybody out. To stop trusting a CA, remove it from its file.

    Args:
        files: by the flag that names them.
        interval: how often to read the files, in seconds.
        sleep: waits for a number of seconds.

    Attributes:
        content: the trusted PEM, by flag.
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
            "CA file unusable, keeping its last good content",
            "CA file usable again",
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
        """Read every file again, and return whether any of them has changed."""
        before = dict(self.content)
        for flag, path in self._files.items():
            try:
                self.content[flag] = await asyncio.to_thread(_read, flag, path)
            except ConfigurationError as error:
                self._outages.failed(flag, error)
            else:
                self._outages.recovered(flag)
                if self.content[flag] != before[flag]:
                    log.info("CA file reloaded", flag=flag)
        return self.content != before


def _read(flag: str, path: Path) -> bytes:
    try:
        pem = path.read_bytes()
        ClientCAs(pem)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{flag} {path} cannot be used: {error}") from error
    return pem
