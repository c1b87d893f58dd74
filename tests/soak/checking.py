"""Checks the answers that HPAs got."""

import msgspec

from metrics_server.api.types import ExternalMetricValueList
from tests.soak.world import App, World

# After this long, a change must be in every answer that covers all pods.
_SETTLED_SECONDS = 10


def exactly(world: World, app: App, status: int, body: bytes) -> str:
    """What is wrong with an answer that must be exact; an empty string if nothing is."""
    if status != 200:
        return f"{app}: {status} {body.decode(errors='replace')[:500]}"
    given, right = _item(body), world.right(app)
    if given == (*right, "exporters"):
        return ""
    return f"{app}: {_told(given)}, not {_told((*right, 'exporters'))}"


def plausibly(world: World, app: App, body: bytes, asked_at: float) -> str:
    """What is wrong with a value that the present or recent past must explain.

    Args:
        world: has the present and the past.
        app: what was asked about.
        body: of the answer, a value.
        asked_at: when it was requested, by the monotonic clock.
    """
    given = value, pods, source = _item(body)
    number = float(value[:-1]) / 1000 if value.endswith("m") else float(value)
    covered, _, asked = pods.partition("/")
    past = world.past[app]
    low, high = past.lowest - 1, past.highest + 1
    if source != "exporters" or value.endswith("m"):
        # Such a value represents the work of other pods than the present ones.
        scale = past.most / max(1, past.fewest)
        low, high = low / scale, high * scale
    if not low <= number <= high:
        return f"{app}: {_told(given)}, but pods had {past.lowest} to {past.highest}"
    if source != "exporters" or not world.pods_known:
        return ""
    if not past.fewest <= int(asked) <= past.most:
        return f"{app}: {_told(given)}, but there were {past.fewest} to {past.most}"
    settled = past.changed < asked_at - _SETTLED_SECONDS and not world.drains(app)
    return exactly(world, app, 200, body) if covered == asked and settled else ""


def _item(body: bytes) -> tuple[str, str, str]:
    """The value of an answer's only item, the pods that it covers, and its source."""
    (item,) = msgspec.json.decode(body, type=ExternalMetricValueList).items
    return item.value, item.metric_labels["pods"], item.metric_labels["source"]


def _told(item: tuple[str, str, str]) -> str:
    value, pods, source = item
    return f"{value} of {pods} pods from {source}"
