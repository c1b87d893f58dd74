"""A server shared by several tests, in its own event loop: a start takes longer than a test.

Only tests that leave the server unchanged may share it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from threading import Thread
from typing import TypeVar

from aiohttp import hdrs

from tests.support.clients import Answer, Client, Headers
from tests.support.harness import Cluster

T = TypeVar("T")
MakeCluster = Callable[[], AbstractAsyncContextManager[Cluster]]


class SharedClient(Client):
    """A client that sends requests in another event loop, and closes its connections there.

    Args:
        client: a client in that loop.
        loop: the loop, which runs in another thread.
    """

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self.url = client.url
        self._client = client
        self._loop = loop

    async def ask(self, target: str, headers: Headers = (), method: str = hdrs.METH_GET) -> Answer:
        """The answer to a request."""
        return await self._there(self._client.ask(target, headers, method))

    async def send(self, data: bytes) -> bytes:
        """Everything received on a connection on which exactly these bytes are sent."""
        return await self._there(self._client.send(data))

    async def _there(self, work: Coroutine[None, None, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


@contextmanager
def shared_client(cluster: AbstractAsyncContextManager[Cluster]) -> Iterator[Client]:
    """A client of a cluster's server, both in their own thread, which leaves no task behind."""
    made: Future[tuple[Client, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def hold() -> None:
        end = asyncio.Event()
        try:
            async with cluster as entered:
                made.set_result((entered.client, asyncio.get_running_loop(), end))
                await end.wait()
        except BaseException as error:
            if made.done():
                raise
            made.set_exception(error)
        leaked = asyncio.all_tasks() - {asyncio.current_task()}
        assert not leaked, f"tasks left behind: {[task.get_name() for task in leaked]}"

    ended: Future[None] = Future()

    def run() -> None:
        try:
            asyncio.run(hold())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            ended.set_exception(error)
        else:
            ended.set_result(None)

    thread = Thread(target=run, name="shared by tests")
    thread.start()
    try:
        client, loop, end = made.result()
        try:
            yield SharedClient(client, loop)
        finally:
            loop.call_soon_threadsafe(end.set)
    finally:
        thread.join()
        ended.result()
