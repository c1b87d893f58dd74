"""Answers of a Kubernetes API, live and recorded."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
from aiohttp import ClientSession

from metrics_server.simulator.kube.objects import (
    Object,
)

PODS_PATH = "/api/v1/pods"


class Answer(msgspec.Struct):
    """An HTTP answer, recorded or received."""

    status: int
    body: dict[str, object]


class Listed(msgspec.Struct):
    """A list, or one page of it."""

    kind: str
    metadata: dict[str, str | int]
    items: list[dict[str, object]]

    def names(self) -> list[str]:
        """The names of its objects."""
        return [str(metadata(item)["name"]) for item in self.items]

    def stripped(self) -> list[dict[str, object]]:
        """Its objects without their versions."""
        return [
            {**item, "metadata": {**metadata(item), "resourceVersion": ""}} for item in self.items
        ]


def metadata(item: Mapping[str, object]) -> dict[str, object]:
    """The metadata of an object."""
    return msgspec.convert(item["metadata"], dict[str, object])


def as_object(value: object) -> Object:
    """A recorded value as an object that can be stored."""
    obj: Object = json.loads(json.dumps(value))
    return obj


Recordings = dict[str, dict[str, object]]


def recorded(recordings: Recordings, name: str) -> Listed:
    """The list in a recording."""
    answer = msgspec.convert(recordings[name]["response"], dict[str, object])
    return msgspec.convert(answer["body"], Listed)


def recorded_status(recordings: Recordings, name: str) -> dict[str, object]:
    """The Status in a recording."""
    answer = msgspec.convert(recordings[name]["response"], dict[str, object])
    return msgspec.convert(answer["body"], dict[str, object])


async def get(session: ClientSession, path: str, **query: str) -> Answer:
    """The answer to a GET."""
    async with session.get(path, params=query) as response:
        return Answer(response.status, await response.json())


async def listed(session: ClientSession, path: str, **query: str) -> Listed:
    """The list in the answer to a GET."""
    answer = await get(session, path, **query)
    assert answer.status == 200, answer.body
    return msgspec.convert(answer.body, Listed)


class Watched:
    """The events of a watch, one by one."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self._lines = lines

    async def next(self) -> dict[str, object]:
        """The next event."""
        async with asyncio.timeout(5):
            return msgspec.json.decode(await anext(self._lines), type=dict[str, object])

    async def rest(self) -> list[dict[str, object]]:
        """The events up to the end of the watch."""
        async with asyncio.timeout(5):
            decode = msgspec.json.Decoder(dict[str, object]).decode
            return [decode(line) async for line in self._lines]

    async def change(self) -> tuple[object, object]:
        """The type of the next event other than bookmarks, and its object's name."""
        while (event := await self.next())["type"] == "BOOKMARK":
            pass
        return event["type"], metadata(as_object(event["object"]))["name"]


@asynccontextmanager
async def watching(
    session: ClientSession, path: str = PODS_PATH, **query: str
) -> AsyncIterator[Watched]:
    """A watch."""
    async with session.get(path, params={"watch": "true", **query}) as response:
        assert response.status == 200
        yield Watched(aiter(response.content))
