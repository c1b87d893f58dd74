"""How exporters are to be reached: whom to trust, and what to show, from files that may rotate."""

import asyncio
import base64
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from metrics_server.common.lookups import SharedLookups
from metrics_server.errors import ScrapeError

# As often as client-go reads a projected token again.
_REFRESH_SECONDS = 60
# No token is as long as a sixteenth of it, which is the most that is kept.
_MAX_BYTES = 1024 * 1024


class AccessFiles(Struct, frozen=True):
    """Where the means of access are.

    Attributes:
        ca_file: authorities to verify exporters by, PEM; None trusts those of the system.
        server_name: the name that their certificates must have, in place of their address.
        bearer_token_file: a token to show.
        username: of basic authentication.
        password_file: its password.
    """

    ca_file: Path | None = None
    server_name: str | None = None
    bearer_token_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None


class Access(Struct, frozen=True):
    """What one scrape needs.

    Attributes:
        context: verifies an exporter behind TLS.
        server_name: the name to verify; None means the host of its URL.
        headers: what proves who asks; never to be logged.
    """

    context: ssl.SSLContext
    server_name: str | None
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return "Access(…)"


class AccessKeeper:
    """Reads the files, and reads them again each minute, or when an exporter refused.

    Args:
        files: where they are; None trusts the system's authorities and shows nothing.
        clock: seconds, from any start.
    """

    def __init__(
        self, files: AccessFiles | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._files = files or AccessFiles()
        self._access: SharedLookups[None, Access] = SharedLookups(
            ttl=_REFRESH_SECONDS, max_bytes=_MAX_BYTES, clock=clock
        )

    async def current(self) -> Access:
        """The means of access as they are now.

        Raises:
            ScrapeError: a file cannot be read, or has not what it should.
        """
        return await self._access.get(None, lambda: asyncio.to_thread(_read, self._files))

    def refused(self) -> None:
        """An exporter did not accept what was shown: it is read again for the next scrape."""
        self._access.forget(None)


def _read(files: AccessFiles) -> Access:
    try:
        context = ssl.create_default_context(cafile=files.ca_file)
        headers: dict[str, str] = {}
        if files.bearer_token_file is not None:
            token = files.bearer_token_file.read_text(encoding="ascii").strip()
            headers["Authorization"] = f"Bearer {token}"
        elif files.username is not None and files.password_file is not None:
            password = files.password_file.read_text(encoding="utf-8").rstrip("\r\n")
            pair = f"{files.username}:{password}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    except (OSError, UnicodeDecodeError, ssl.SSLError) as error:
        # What a file of secrets holds is not told, not even where it could not be read.
        why = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise ScrapeError(
            f"was not scraped: a file under exporters.tls or exporters.auth cannot be used ({why})",
            "credentials",
        ) from None
    return Access(context, files.server_name, headers)
