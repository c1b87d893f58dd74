"""The items of an answer, and how they are encoded."""

from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import structs

from metrics_server.api.types import ExternalMetricValue
from tests.support.clients import Client


async def test_one_item(client: Client) -> None:
    """The answer is one item with its source and a timestamp in whole seconds, UTC."""
    before = datetime.now(UTC).replace(microsecond=0)
    item = (await client.metric("default", "gpu_utilization", "app=inference")).item()
    # The mean of 1 and 4, rounded half up.
    assert structs.replace(item, timestamp="") == ExternalMetricValue(
        metric_name="gpu_utilization",
        metric_labels={"source": "exporters", "pods": "2/2"},
        timestamp="",
        value="3",
    )
    told = datetime.strptime(item.timestamp, "%Y-%m-%dT%H:%M:%S%z")
    assert before <= told <= before + timedelta(seconds=10)


async def test_the_item_as_it_is_written(client: Client) -> None:
    """Fields have Kubernetes' names; a missing window is left out."""
    body = (await client.metric("default", "gpu_utilization")).json()
    assert list(body) == ["kind", "apiVersion", "metadata", "items"]
    assert body["metadata"] == {}
    (item,) = msgspec.convert(body["items"], list[dict[str, object]])
    assert list(item) == ["metricName", "metricLabels", "timestamp", "value"]
