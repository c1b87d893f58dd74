"""An answer whose body is known when it is sent.

aiohttp's `web.Response` assembles and checks its headers for each request, which takes longer
than finding the answer. Here, head and body are two byte strings.
"""

import time
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter

# A longer answer is written in pieces, each after the previous one is sent.
_PIECE_BYTES = 64 * 1024


class Reply(web.StreamResponse):
    """An answer to a request.

    Args:
        body: the body; not sent for a status that has none, nor to HEAD.
        content_type: of the body; "" without one.
        status: the HTTP status.
        headers: further headers; names and values are ASCII, without line breaks.
    """

    def __init__(
        self,
        body: bytes = b"",
        content_type: str = "",
        *,
        status: int = 200,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(status=status)
        lines = ""
        if status != HTTPStatus.NOT_MODIFIED:
            lines = f"Content-Length: {len(body)}\r\n"
        if content_type:
            lines += f"Content-Type: {content_type}\r\n"
        for name, value in headers:
            lines += f"{name}: {value}\r\n"
        self._content = body
        self._lines = lines
        self._stays: bool | None = None

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection is kept; None until that is known."""
        return self._stays

    def force_close(self) -> None:
        """Close the connection after this answer."""
        self._stays = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Send head and body."""
        if self._stays is None:
            self._stays = request.keep_alive
        connection = ""
        if not self._stays:
            connection = "Connection: close\r\n"
        elif request.version < HttpVersion11:
            connection = "Connection: keep-alive\r\n"
        head = (
            f"HTTP/1.1 {self.status} {self.reason}\r\n{self._lines}"
            f"Date: {_date(int(time.time()))}\r\n{connection}\r\n"
        ).encode()
        body, writer = self._content, request.writer
        if request.method == hdrs.METH_HEAD:
            body = b""
        if len(body) <= _PIECE_BYTES:
            await writer.write_eof(head + body)
            return writer
        await writer.write(head)
        for start in range(0, len(body), _PIECE_BYTES):
            await writer.write(body[start : start + _PIECE_BYTES])
            await writer.drain()
        await writer.write_eof()
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: everything has been sent by `prepare`."""


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
