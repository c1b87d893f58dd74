"""A Kubernetes API that can fail."""

import asyncio
from contextlib import suppress

from aiohttp import web

from metrics_server.simulator.kube.api import KubernetesAPI

FAULTS = ("hangs", "answers 429", "answers 500", "resets", "sends garbage")
REVIEWS = ("tokenreviews", "subjectaccessreviews")


class FaultyAPI(KubernetesAPI):
    """A Kubernetes API whose responses can be made to fail.

    Attributes:
        fault: one of FAULTS; empty while it is healthy.
        hit: what fails: every path that contains one of these.
        revived: whether hung requests are answered after the fault, or cut off.
    """

    fault = ""
    hit: tuple[str, ...] = ("",)
    revived = True

    def fail(self, fault: str, hit: tuple[str, ...] = ("",), *, revived: bool = True) -> None:
        """Fail from now on, only in this way."""
        self.recover()
        self.fault, self.hit, self.revived = fault, hit, revived
        self._over = asyncio.Event()

    def recover(self) -> None:
        """Recover."""
        if self.fault:
            self.fault = ""
            self._over.set()

    def expire_watches(self) -> None:
        """Break every watch, so that none can resume."""
        self.faults.expire_versions()
        self.faults.drop_watches()

    def silence_watches(self) -> None:
        """Keep every watch open and send nothing on it, except for one more event."""
        for watch in self._watches:
            watch.wake = asyncio.Event()

    def halve_an_event(self) -> None:
        """Break every watch in the middle of an event."""
        self.faults.send_to_watches(b'{"type":"MODIFIED","object":{"kind":"Pod","meta')
        asyncio.get_running_loop().call_later(0.05, self.faults.drop_watches)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.fault and any(part in request.path for part in self.hit):
            match self.fault:
                case "hangs":
                    revived, over = self.revived, self._over
                    await over.wait()
                    if not revived:
                        self._reset(request)
                case "answers 429":
                    return web.json_response(
                        {"kind": "Status", "message": "too many", "code": 429},
                        status=429,
                        headers={"Retry-After": "1"},
                    )
                case "answers 500":
                    return web.json_response(
                        {"kind": "Status", "message": "no leader", "code": 500}, status=500
                    )
                case "resets":
                    self._reset(request)
                case _:
                    return web.Response(text="}{ \x00 garbage", content_type="application/json")
        with suppress(ConnectionResetError):
            return await super()._answer(request)
        return web.Response(status=499)

    def _reset(self, request: web.Request) -> None:
        if request.transport is not None:
            request.transport.abort()
        raise web.HTTPInternalServerError
