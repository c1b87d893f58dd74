"""Selectors from a real cluster's clients."""

import json
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from metrics_server.kube.labels import parse_selector
from tests.support.data import KUBE_API, RECORDINGS
from tests.support.selectors import selector_of


def _recorded_queries() -> Iterator[str]:
    with (RECORDINGS / "aggregator.jsonl").open() as lines:
        yield from (json.loads(line)["query"] for line in lines)
    for path in (KUBE_API).glob("*.json"):
        request = json.loads(path.read_text())["request"]
        if isinstance(request, dict) and path.name != "pods-list-bad-selector.json":
            yield urlsplit(request["path"]).query


def _recorded_pods(pattern: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    paths = list((KUBE_API).glob(pattern))
    assert paths
    for path in paths:
        for pod in json.loads(path.read_text())["response"]["body"]["items"]:
            yield pod["metadata"]["name"], pod["metadata"]["labels"]


def test_every_recorded_selector_parses() -> None:
    """Selectors from real clients, including the HPA controller's, are understood."""
    selectors = {str(parse_selector(selector_of(query))) for query in _recorded_queries()}
    assert selectors == {
        "",
        "app=x",
        "app=inference,!canary,tier in (accel,gpu)",
        "app=inference,!canary,tier in (accel,gpu),x notin (a,b)",
        "kubernetes.io/service-name=dcgm-exporter",
    }


def test_the_recorded_selector_selects_what_the_real_api_selected() -> None:
    """Exactly the pods that the API returned for the selector match."""
    path = KUBE_API / "pods-list-label-selector.json"
    request = json.loads(path.read_text())["request"]
    selector = parse_selector(selector_of(urlsplit(request["path"]).query))
    expected = {name for name, _ in _recorded_pods(path.name)}
    everything = dict(_recorded_pods("pods-list-page*.json"))
    assert {name for name, labels in everything.items() if selector.matches(labels)} == expected
    for labels in everything.values():
        assert not selector.matches({**labels, "canary": "true"})
        assert not selector.matches({**labels, "tier": "cpu"})


def test_an_endpoint_slice_is_selected_by_its_service() -> None:
    """The selector for exporters matches the slice that the API returned for it."""
    recording = json.loads((KUBE_API / "endpointslices-dcgm-exporter.json").read_text())
    selector = parse_selector(selector_of(urlsplit(recording["request"]["path"]).query))
    (endpoint_slice,) = recording["response"]["body"]["items"]
    assert selector.matches(endpoint_slice["metadata"]["labels"])
