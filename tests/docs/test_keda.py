"""docs/keda.md has the fields that KEDA 2.18 reads, and requests what this server serves."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from math import ceil
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import Struct, convert

from metrics_server.config.sections import Config
from metrics_server.simulator.kube.objects import DEPLOYMENTS, Object
from metrics_server.simulator.kube.reviews import Caller
from tests.deployments.manifests import ROOT, at, build, find, items, mapping
from tests.support.exporters import page
from tests.support.harness import client_of, cluster
from tests.support.objects import pod

GUIDE = ROOT / "docs" / "keda.md"


class Reference(Struct, frozen=True, forbid_unknown_fields=True):
    """A reference to an object in the same namespace."""

    name: str


class MetricsAPI(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The metadata of a metrics-api trigger, as far as it is used; all are strings."""

    url: str
    value_location: str
    target_value: str
    auth_mode: str


class Trigger(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A trigger of a ScaledObject."""

    type: str
    metric_type: str
    metadata: MetricsAPI
    authentication_ref: Reference


class ScaledObjectSpec(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A ScaledObject's spec."""

    scale_target_ref: Reference
    min_replica_count: int
    max_replica_count: int
    triggers: list[Trigger]


class BoundToken(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A parameter that is a ServiceAccount's token."""

    parameter: str
    service_account_name: str


class TriggerAuthenticationSpec(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A TriggerAuthentication's spec."""

    bound_service_account_token: list[BoundToken]


def shown(kind: str) -> Iterator[Object]:
    """The guide's objects of a kind."""
    text = GUIDE.read_text(encoding="utf-8")
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for document in yaml.safe_load_all(block):
            if document.get("kind") == kind:
                yield document


def deployment(name: str) -> Object:
    """A Deployment of the harness's default pods."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "inference"}}},
    }


SCALED_OBJECTS = [convert(mapping(one, "spec"), ScaledObjectSpec) for one in shown("ScaledObject")]


def test_every_keda_object_is_read_by_keda() -> None:
    """ScaledObjects for a mean and a sum, and their credentials, refer to one another."""
    (credentials,) = shown("TriggerAuthentication")
    (token,) = convert(
        mapping(credentials, "spec"), TriggerAuthenticationSpec
    ).bound_service_account_token
    assert token.parameter == "token"
    assert token.service_account_name in [
        at(one, "metadata", "name") for one in shown("ServiceAccount")
    ]
    assert [one.triggers[0].metric_type for one in SCALED_OBJECTS] == ["Value", "AverageValue"]
    for scaled in SCALED_OBJECTS:
        (trigger,) = scaled.triggers
        assert (trigger.type, trigger.metadata.auth_mode) == ("metrics-api", "bearer")
        assert trigger.authentication_ref.name == at(credentials, "metadata", "name")
        # With KEDA's default of 0 the last pod would go, and no GPU metric would bring it back.
        assert 1 <= scaled.min_replica_count <= scaled.max_replica_count


async def test_each_trigger_scales_rightly() -> None:
    """Its URL, with a token, returns the number from which KEDA's HPA computes the replicas."""
    pods = [f"p{number}" for number in range(4)]
    pages = {"gpu-0": page({("default", name): [90] for name in pods})}
    tokens = {"good": Caller("system:serviceaccount:default:gpu-metrics")}
    async with (
        cluster(pages, map(pod, pods), tokens=tokens) as simulated,
        client_of(simulated.server) as client,
    ):
        simulated.api.apply(DEPLOYMENTS, deployment("inference"))
        for scaled in SCALED_OBJECTS:
            (trigger,) = scaled.triggers
            url = urlsplit(trigger.metadata.url)
            assert url.hostname == "kubernetes.default.svc"
            answer = await client.ask(url.path, {"Authorization": "Bearer good"})
            assert answer.status == HTTPStatus.OK, answer.text
            assert trigger.metadata.value_location == "items.0.value"
            value = float(str(at(msgspec.json.decode(answer.body), "items", 0, "value")))
            ready = len(pods) if trigger.metric_type == "Value" else 1
            assert ceil(ready * value / float(trigger.metadata.target_value)) == 6


def test_the_token_may_do_what_the_triggers_need() -> None:
    """The account may get custom metrics, KEDA may request only its tokens, and no more."""
    roles = {str(at(one, "metadata", "name")): items(one, "rules") for one in shown("Role")}
    assert roles == {
        "gpu-metrics": [
            {"apiGroups": ["custom.metrics.k8s.io"], "resources": ["*"], "verbs": ["get"]}
        ],
        "gpu-metrics-tokens": [
            {
                "apiGroups": [""],
                "resources": ["serviceaccounts/token"],
                "resourceNames": ["gpu-metrics"],
                "verbs": ["create"],
            }
        ],
    }
    bound = {
        at(one, "roleRef", "name"): at(one, "subjects", 0, "name") for one in shown("RoleBinding")
    }
    assert bound == {"gpu-metrics": "gpu-metrics", "gpu-metrics-tokens": "keda-operator"}


def test_what_is_handed_out_has_no_key() -> None:
    """The guide's CA is from the manifests' ConfigMap, never from the Secret."""
    text = GUIDE.read_text(encoding="utf-8")
    name = Config().certificates.config_map
    assert f"get configmap {name} " in text
    assert find(build("."), "ConfigMap", name).keys() == {"apiVersion", "kind", "metadata"}
    assert "get secret" not in text
