"""Lists a whole collection page by page."""

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Generic, TypeVar

from msgspec import Raw, Struct

from metrics_server.errors import KubernetesError
from metrics_server.kube.client import KubernetesClient
from metrics_server.kube.wire import MALFORMED, List, decode_list

Item = TypeVar("Item")

PAGE_SIZE = 500

# kube-apiserver ends every request except watches after this time (--request-timeout).
_LIST_SECONDS = 60


class Listed(Struct, Generic[Item]):
    """All of a collection.

    Attributes:
        items: its items.
        unreadable: why objects were skipped.
        version: the version of the cluster.
    """

    items: list[Item]
    unreadable: list[str]
    version: str


async def list_all(
    client: KubernetesClient,
    path: str,
    decode: Callable[[Raw], Item],
    query: Mapping[str, str],
    version: str,
) -> Listed[Item]:
    """List everything.

    Args:
        client: the client of the Kubernetes API.
        path: of the collection.
        decode: as for a `Reflector`.
        query: further parameters, such as labelSelector.
        version: the resourceVersion.

    Raises:
        KubernetesError: a page was refused, or is not one.
    """
    items: list[Item] = []
    unreadable: list[str] = []
    start = {"resourceVersion": version}
    while True:
        page = await _page(client, path, {**query, "limit": str(PAGE_SIZE), **start})
        for number, raw in enumerate(page.items or ()):
            try:
                items.append(decode(raw))
            except MALFORMED as error:
                unreadable.append(str(error))  # one must not affect the others
            if number % PAGE_SIZE == PAGE_SIZE - 1:
                await asyncio.sleep(0)  # a huge list must not block the event loop
        if not page.metadata.next:
            return Listed(items, unreadable, page.metadata.resource_version)
        # The token includes the version; the API rejects a request with both.
        start = {"continue": page.metadata.next}


async def _page(client: KubernetesClient, path: str, query: Mapping[str, str]) -> List:
    try:
        return decode_list(await client.get(path, query, timeout=_LIST_SECONDS))
    except MALFORMED as error:
        raise KubernetesError(f"{path} sent no list: {error}", HTTPStatus.OK) from error
