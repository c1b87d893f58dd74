"""The forms of an answer: JSON, a Table, or neither."""

import msgspec
import pytest
from aiohttp import hdrs

from tests.support.clients import Client
from tests.support.external_metrics import METRIC

TABLE = "application/json;g=meta.k8s.io;v=v1;as=Table"


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "application/*",
        "application/json",
        "application/vnd.kubernetes.protobuf, */*",
        "application/vnd.kubernetes.protobuf,application/json",
        "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
        f"{TABLE};q=0.1,application/json",
    ],
)
async def test_json_for_who_takes_it(client: Client, accept: str | None) -> None:
    """The HPA's client prefers protobuf but accepts JSON, and the content type says so."""
    answer = await client.ask(METRIC, {} if accept is None else {hdrs.ACCEPT: accept})
    assert answer.item().value == "7"


async def test_a_table_for_kubectl(client: Client) -> None:
    """`kubectl get` asks for a Table, whose row has the value and its source."""
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    answer = await client.ask(METRIC, {hdrs.ACCEPT: accept})
    assert (answer.status, answer.headers[hdrs.CONTENT_TYPE]) == (200, TABLE)
    table = answer.json()
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    (row,) = msgspec.convert(table["rows"], list[dict[str, object]])
    cells = msgspec.convert(row["cells"], list[str])
    assert cells[:4] == ["gpu_utilization", "7", "exporters", "3/3"]


@pytest.mark.parametrize(
    "accept", ["application/vnd.kubernetes.protobuf", "text/plain", "application/json;q=0"]
)
async def test_no_acceptable_form(client: Client, accept: str) -> None:
    """A client that does not accept JSON gets 406, with a Status anyway."""
    status = (await client.ask(METRIC, {hdrs.ACCEPT: accept})).error()
    assert (status.code, status.reason) == (406, "NotAcceptable")
    assert status.message.startswith(
        f'"{accept}" matches none of the media types offered: application/json'
    )
