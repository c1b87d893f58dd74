"""The discovery documents say what is served, in the forms that Kubernetes reads."""

import json
import platform
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import TypeAlias

import pytest

from metrics_server import __version__
from metrics_server.api.discovery import (
    MEDIA_TYPES,
    Discovery,
    DiscoveryVersion,
    Document,
    build_discovery,
)
from metrics_server.api.groups import (
    ApiGroup,
    ApiResource,
    custom_metrics_group,
    external_metrics_group,
)
from metrics_server.api.negotiation import Offer, negotiate
from metrics_server.api.types import GROUP, GROUP_VERSION
from metrics_server.errors import ConfigurationError
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from tests.support.data import KUBE_API, RECORDINGS

Json: TypeAlias = "str | int | bool | list[Json] | dict[str, Json] | None"

METRICS = ["gpu_utilization", "gpu_memory_used"]
SERVED = {"groupVersion": "external.metrics.k8s.io/v1beta1", "version": "v1beta1"}


def discovery_of(metrics: Iterable[str]) -> Discovery:
    """The documents for these metrics."""
    return build_discovery([external_metrics_group(metrics)])


@pytest.fixture
def discovery() -> Discovery:
    """The documents for two metrics."""
    return discovery_of(METRICS)


def documents(discovery: Discovery) -> list[Document]:
    """Every document."""
    return [
        discovery.api_group_list,
        *discovery.api_group_discovery_list.values(),
        *discovery.api_groups.values(),
        *discovery.api_resource_lists.values(),
        discovery.version,
    ]


def body(document: Document) -> Json:
    """The body that a client reads."""
    decoded: Json = json.loads(document.body)
    return decoded


def test_the_group_list_names_the_group_and_its_version(discovery: Discovery) -> None:
    """The plain answer to /apis is a meta/v1 APIGroupList."""
    assert body(discovery.api_group_list) == {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [
            {
                "name": "external.metrics.k8s.io",
                "versions": [SERVED],
                "preferredVersion": SERVED,
            }
        ],
    }


def test_the_group_alone_says_its_kind(discovery: Discovery) -> None:
    """The answer to /apis/GROUP is a meta/v1 APIGroup."""
    assert body(discovery.api_groups[GROUP]) == {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": "external.metrics.k8s.io",
        "versions": [SERVED],
        "preferredVersion": SERVED,
    }


def test_the_resource_list_has_one_entry_a_metric(discovery: Discovery) -> None:
    """Sorted by name; the only verb is get, so no controller starts to call the server."""
    assert body(discovery.api_resource_lists[GROUP_VERSION]) == {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "external.metrics.k8s.io/v1beta1",
        "resources": [
            {
                "name": name,
                "singularName": "",
                "namespaced": True,
                "kind": name,
                "verbs": ["get"],
            }
            for name in sorted(METRICS)
        ],
    }


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_aggregated_discovery_has_the_same_metrics(
    discovery: Discovery, version: DiscoveryVersion
) -> None:
    """In both versions: Namespaced, Current, with a non-empty kind of answer."""
    assert body(discovery.api_group_discovery_list[version]) == {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": "external.metrics.k8s.io"},
                "versions": [
                    {
                        "version": "v1beta1",
                        "resources": [
                            {
                                "resource": name,
                                "responseKind": {
                                    "group": "external.metrics.k8s.io",
                                    "version": "v1beta1",
                                    "kind": name,
                                },
                                "scope": "Namespaced",
                                "singularResource": "",
                                "verbs": ["get"],
                            }
                            for name in sorted(METRICS)
                        ],
                        "freshness": "Current",
                    }
                ],
            }
        ],
    }


def test_what_the_aggregator_asks_for_is_on_offer(discovery: Discovery) -> None:
    """The recorded aggregator's Accept header leads to the v2 document."""
    lines = (RECORDINGS / "aggregator.jsonl").read_text().splitlines()
    request = next(r for r in map(json.loads, lines) if r["path"] == "/apis")
    accept = dict(request["headers"])["Accept"]
    offers = {
        Offer(kind="APIGroupDiscoveryList", group="apidiscovery.k8s.io", version=version): document
        for version, document in discovery.api_group_discovery_list.items()
    }
    chosen = negotiate(accept, list(offers))
    assert chosen is not None
    assert chosen.version == "v2"
    assert offers[chosen].content_type == chosen.content_type == MEDIA_TYPES["v2"]
    # The order of a media type's parameters does not matter.
    asked_for = [set(entry.split(";")) for entry in accept.split(",")]
    assert set(chosen.content_type.split(";")) == asked_for[0]


def test_the_catalogue_is_discoverable() -> None:
    """Every built-in metric is listed."""
    listed = discovery_of(Rules(CATALOGUE).names()).api_resource_lists[GROUP_VERSION].body.decode()
    for name in Rules(CATALOGUE).names():
        assert f'"{name}"' in listed


def test_another_group_is_one_more_value() -> None:
    """Each document has both groups, in order, and all their versions."""
    other = ApiGroup("other.io", ("v2", "v1"), (ApiResource("pods", "Pod"),))
    discovery = build_discovery([external_metrics_group(METRICS), other])

    listed = json.loads(discovery.api_group_list.body)["groups"]
    assert [group["name"] for group in listed] == [GROUP, "other.io"]
    assert [one["version"] for one in listed[1]["versions"]] == ["v2", "v1"]
    assert listed[1]["preferredVersion"] == {"groupVersion": "other.io/v2", "version": "v2"}
    assert {**listed[1], "kind": "APIGroup", "apiVersion": "v1"} == body(
        discovery.api_groups["other.io"]
    )
    for document in discovery.api_group_discovery_list.values():
        _, aggregated = json.loads(document.body)["items"]
        assert aggregated["metadata"]["name"] == "other.io"
        assert [
            (one["version"], *(r["responseKind"]["version"] for r in one["resources"]))
            for one in aggregated["versions"]
        ] == [("v2", "v2"), ("v1", "v1")]
    for version in ("v1", "v2"):
        document = discovery.api_resource_lists[f"other.io/{version}"]
        assert json.loads(document.body)["groupVersion"] == f"other.io/{version}"


def test_custom_metrics_are_subresources() -> None:
    """As custom-metrics-apiserver lists them; in the aggregated form, under their resource."""
    group = custom_metrics_group(["GPU_Utilization", "gpu_power_usage"], ["pods", "jobs.batch"])
    discovery = build_discovery([group])
    assert list(discovery.api_resource_lists) == [f"{group.name}/v1beta2", f"{group.name}/v1beta1"]
    for version in ("v1beta2", "v1beta1"):
        listed = json.loads(discovery.api_resource_lists[f"{group.name}/{version}"].body)
        assert listed["resources"] == [
            {
                "name": f"{resource}/{metric}",
                "singularName": "",
                "namespaced": resource != "namespaces",
                "kind": "MetricValueList",
                "verbs": ["get"],
            }
            for resource in ("jobs.batch", "namespaces", "pods")
            for metric in ("gpu_power_usage", "gpu_utilization")
        ]
    for document in discovery.api_group_discovery_list.values():
        (aggregated,) = json.loads(document.body)["items"]
        newest, _ = aggregated["versions"]
        kind = {"group": group.name, "version": "v1beta2", "kind": "MetricValueList"}
        assert newest["resources"][-1] == {
            "resource": "pods",
            # Not null: clients of 1.26.0 to 1.26.3 crash on that.
            "responseKind": {"group": "", "version": "", "kind": ""},
            "scope": "Namespaced",
            "singularResource": "",
            "verbs": [],
            "subresources": [
                {"subresource": metric, "responseKind": kind, "verbs": ["get"]}
                for metric in ("gpu_power_usage", "gpu_utilization")
            ],
        }
        assert [one["scope"] for one in newest["resources"]] == [
            "Namespaced",
            "Cluster",
            "Namespaced",
        ]
    with pytest.raises(ConfigurationError, match="at least one metric"):
        custom_metrics_group([], ["pods"])


def test_names_are_listed_in_lower_case() -> None:
    """Clients lowercase the name they request, and look for that here."""
    document = json.loads(
        discovery_of(["My_Metric", "my_metric"]).api_resource_lists[GROUP_VERSION].body
    )
    assert [resource["name"] for resource in document["resources"]] == ["my_metric"]


def test_a_server_without_metrics_does_not_start() -> None:
    """An empty group version would be stale, and block the deletion of every namespace."""
    with pytest.raises(ConfigurationError, match="at least one metric"):
        discovery_of([])


def test_the_version_has_all_nine_fields(discovery: Discovery) -> None:
    """Those of the recorded kube-apiserver, except its own emulation; all are strings."""
    recorded = json.loads((KUBE_API / "version.json").read_text())
    of_kubernetes = {
        name
        for name in recorded["response"]["body"]
        if not name.startswith(("emulation", "minCompatibility"))
    }
    version = json.loads(discovery.version.body)
    assert set(version) == of_kubernetes
    assert len(version) == 9
    assert all(isinstance(value, str) for value in version.values())
    assert version["gitVersion"] == f"v{__version__}"
    assert f"{version['major']}.{version['minor']}." in f"{__version__}."
    assert version["goVersion"] == f"python{platform.python_version()}"
    assert version["compiler"] == platform.python_implementation()


def test_entity_tags_are_strong_and_follow_the_content(discovery: Discovery) -> None:
    """Quoted and distinct; the same content has the same tag, other content another."""
    for document in documents(discovery):
        assert re.fullmatch(r'"[0-9A-F]{64}"', document.etag)
        assert document.hash == sha256(document.body).hexdigest().upper()
    assert len({document.etag for document in documents(discovery)}) == len(documents(discovery))
    assert documents(discovery_of(reversed(METRICS))) == documents(discovery)
    assert (
        discovery_of(["other"]).api_resource_lists[GROUP_VERSION].etag
        != discovery.api_resource_lists[GROUP_VERSION].etag
    )
