"""Which pages may send requests: only this server's own.

The server listens on loopback only, but any web page that is open in a browser there can send
requests to it. A page of another site is recognized by the headers that it cannot forge: Host (for
DNS rebinding), Origin and Sec-Fetch-Site.
"""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from yarl import URL

_OWN_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Add the headers of every answer: what the page may load, and who may embed it."""
    response.headers.update(_HEADERS)
    # Do not reveal which library answers.
    response.headers["Server"] = "gpu-metrics-server demo"


@web.middleware
async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Refuse requests that a page of another site may have sent."""
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not _is_own(hosts[0]):
        text = "open the page at 127.0.0.1 or localhost: another name may be a DNS rebinding attack"
        return web.Response(status=421, text=f"{text}\n")
    if request.method not in ("GET", "HEAD") or request.path == "/events":
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            return web.Response(status=403, text="a page of another site may not do this\n")
        origin = request.headers.get("Origin")
        posts = request.method not in ("GET", "HEAD")
        if (origin is None and posts) or (origin is not None and origin != f"http://{hosts[0]}"):
            text = f"the header Origin must be http://{hosts[0]}: only the page itself may do this"
            return web.Response(status=403, text=f"{text}\n")
    return await handler(request)


def _is_own(host: str) -> bool:
    """Whether a Host header names this machine; forwarded by ssh, it may have another port."""
    try:
        return URL(f"http://{host}").host in _OWN_HOSTS
    except ValueError:
        return False
