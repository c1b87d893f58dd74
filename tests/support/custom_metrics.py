"""Questions to the custom metrics API."""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlencode

import msgspec
from aiohttp import hdrs

from metrics_server.api.types import CUSTOM_GROUP, MetricValue, MetricValueList
from tests.support.clients import Answer, Client
from tests.support.harness import Cluster
from tests.support.waiting import eventually

GROUP = f"/apis/{CUSTOM_GROUP}"
ACCEPT = "application/vnd.kubernetes.protobuf, */*"

UTILIZATION: Mapping[tuple[str, str], list[float]] = {
    ("default", "web-1"): [10],
    ("default", "web-2"): [40, 55],
    ("default", "batch-1"): [90],
    ("default", "web-draining"): [100],
    ("default", "web-loading"): [0],
    ("other", "web-1"): [70],
}
WEB = {"app": "web"}


async def ask(
    client: Client, path: str, *, version: str = "v1beta2", accept: str = ACCEPT, **query: str
) -> Answer:
    """The answer to a request as the HPA controller sends it."""
    encoded = f"?{urlencode(query)}" if query else ""
    target = f"{GROUP}/{version}/namespaces/{path}{encoded}"
    return await client.ask(target, {hdrs.ACCEPT: accept})


def items(answer: Answer) -> tuple[MetricValue, ...]:
    """The items of an answer in v1beta2."""
    assert answer.status == HTTPStatus.OK, answer.text
    assert answer.headers[hdrs.CONTENT_TYPE] == "application/json"
    values = msgspec.json.decode(answer.body, type=MetricValueList)
    assert (values.kind, values.api_version) == ("MetricValueList", f"{CUSTOM_GROUP}/v1beta2")
    assert values.items
    return values.items


def by_name(answer: Answer) -> dict[str, str]:
    """The values in an answer, by object name."""
    found = items(answer)
    assert len({one.described_object.name for one in found}) == len(found)
    return {one.described_object.name: one.value for one in found}


QUICK = {"exporters": {"maxAge": "50ms"}}


async def failed(made: Cluster, path: str) -> Answer:
    """The answer to a request once the exporter's failure has been noticed."""
    made.exporters["gpu-0"].status = 500
    return await eventually(
        lambda: ask(made.client, path), lambda answer: answer.status != HTTPStatus.OK
    )
