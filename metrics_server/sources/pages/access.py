"""TLS settings and credentials for pages, from files that may be rotated."""

import asyncio
import base64
import hashlib
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from metrics_server.common.lookups import SharedLookups
from metrics_server.errors import ScrapeError
from metrics_server.http.client import TLS

# As often as client-go rereads a projected token.
_REFRESH_SECONDS = 60
# The shortest time between two rereads of the files because credentials were rejected.
_REFUSED_SECONDS = 5
# A value is kept if it takes up to a sixteenth of this, which no token exceeds.
_MAX_BYTES = 1024 * 1024


class AccessFiles(Struct, frozen=True):
    """The files with the TLS settings and credentials.

    Attributes:
        ca_file: CA certificates to verify servers with, PEM; None trusts the system's.
        server_name: the name that their certificates must have, instead of their address.
        cert_file: a client certificate with its chain, PEM.
        key_file: its private key, PEM, without a passphrase.
        bearer_token_file: a bearer token.
        username: the user of basic authentication.
        password_file: that user's password.
        allow_http: whether the credentials may be sent over plain HTTP.
        setting: what sets them in the configuration, for messages.
    """

    ca_file: Path | None = None
    server_name: str | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    bearer_token_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None
    allow_http: bool = False
    setting: str = "exporters"


class Access(Struct, frozen=True):
    """The TLS settings and credentials of one scrape.

    Attributes:
        tls: how a server is verified.
        headers: the credentials; must never be logged.
        allow_http: whether the credentials may be sent over plain HTTP.
        setting: what sets them in the configuration, for messages.
    """

    tls: TLS
    headers: Mapping[str, str]
    allow_http: bool
    setting: str

    def __repr__(self) -> str:
        return "Access(…)"


class AccessKeeper:
    """Reads the files, and rereads them every minute, or after a server rejected them.

    Args:
        files: the files; None trusts the system's CA certificates and sends no credentials.
        clock: seconds, on a monotonic clock.
    """

    def __init__(
        self, files: AccessFiles | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._files = files or AccessFiles()
        self._access: SharedLookups[None, Access] = SharedLookups(
            ttl=_REFRESH_SECONDS, max_bytes=_MAX_BYTES, clock=clock
        )
        self._clock = clock
        self._refused = float("-inf")
        self._context: tuple[object, ssl.SSLContext] | None = None

    async def current(self) -> Access:
        """Return the current TLS settings and credentials.

        Raises:
            ScrapeError: a file cannot be read, or does not contain what it should.
        """
        return await self._access.get(None, lambda: asyncio.to_thread(self._read))

    def refused(self) -> None:
        """Reread the files at the next scrape, as a server rejected the credentials.

        But not for every server that rejects them: all others have to connect again after that.
        """
        now = self._clock()
        if now >= self._refused + _REFUSED_SECONDS:
            self._refused = now
            self._access.forget(None)

    def _read(self) -> Access:
        files = self._files
        try:
            # A new context would mean connecting to every exporter again.
            state = _tls_state(files)
            if self._context is None or self._context[0] != state:
                self._context = state, _context_of(files)
            return _access(files, self._context[1])
        except (OSError, UnicodeDecodeError, ssl.SSLError) as error:
            # The contents of a secret file are never reported, not even if it cannot be decoded.
            why = error.strerror if isinstance(error, OSError) else type(error).__name__
            raise _unusable(files, why) from None


def _tls_state(files: AccessFiles) -> tuple[object, ...]:
    """Return what differs if one of the files of TLS has changed."""
    named = [path for path in (files.ca_file, files.cert_file, files.key_file) if path]
    system = ssl.get_default_verify_paths()
    trusted = () if files.ca_file else filter(None, (system.cafile, system.capath))
    return (
        *(hashlib.sha256(path.read_bytes()).digest() for path in named),
        *(Path(path).stat().st_mtime_ns for path in trusted),
    )


def _context_of(files: AccessFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.ca_file)
    if files.cert_file is not None:
        # Without a password, OpenSSL would ask for the passphrase of a key on the terminal.
        context.load_cert_chain(files.cert_file, files.key_file, password="")
    return context


def _access(files: AccessFiles, context: ssl.SSLContext) -> Access:
    headers: dict[str, str] = {}
    if files.bearer_token_file is not None:
        token = files.bearer_token_file.read_text(encoding="ascii").strip()
        if not token or not token.isprintable():
            raise _unusable(files, "not a token")
        headers["Authorization"] = f"Bearer {token}"
    elif files.username is not None and files.password_file is not None:
        password = files.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        pair = f"{files.username}:{password}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return Access(TLS(context, files.server_name), headers, files.allow_http, files.setting)


def _unusable(files: AccessFiles, why: str | None) -> ScrapeError:
    return ScrapeError(
        f"was not scraped: a file under {files.setting}.tls or {files.setting}.auth cannot be used "
        f"({why})",
        "credentials",
    )
