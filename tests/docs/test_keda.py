"""What docs/keda.md shows has the fields that KEDA 2.18 reads, and asks what this server serves."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml
from msgspec import Struct, convert

from metrics_server.config.rules import rules_in_force
from metrics_server.simulator.kube.objects import Object
from tests.deployments.manifests import DEPLOYMENTS, ROOT, at, build, find, items, mapping, texts

GUIDE = ROOT / "docs" / "keda.md"


class Reference(Struct, frozen=True, forbid_unknown_fields=True):
    """A reference to an object of the same namespace."""

    name: str


class MetricsAPI(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The metadata of a trigger of type metrics-api, as far as it is used; all are strings."""

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
    """A parameter that is a token of a ServiceAccount."""

    parameter: str
    service_account_name: str


class TriggerAuthenticationSpec(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A TriggerAuthentication's spec."""

    bound_service_account_token: list[BoundToken]


def shown(kind: str) -> Iterator[Object]:
    """The objects of a kind in the guide."""
    text = GUIDE.read_text(encoding="utf-8")
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for document in yaml.safe_load_all(block):
            if document.get("kind") == kind:
                yield document


SCALED_OBJECTS = [convert(mapping(one, "spec"), ScaledObjectSpec) for one in shown("ScaledObject")]
