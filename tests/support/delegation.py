"""The recorded ConfigMap for delegated authentication."""

import json

import msgspec

from metrics_server.auth.delegation import (
    NAME,
)
from metrics_server.simulator.kube.objects import Object
from tests.support.data import KUBE_API

RECORDED: Object = json.loads(
    (KUBE_API / "configmap-extension-apiserver-authentication.json").read_bytes()
)["response"]["body"]
DATA = msgspec.convert(RECORDED["data"], dict[str, str])

BUNDLES = ("client-ca-file", "requestheader-client-ca-file")


def config_map(**data: str) -> Object:
    """The recorded ConfigMap with some data replaced; underscores replace dashes in keys."""
    replaced = {key.replace("_", "-"): value for key, value in data.items()}
    return {
        "metadata": {"name": NAME, "namespace": "kube-system"},
        "data": {**DATA, **replaced},
    }
