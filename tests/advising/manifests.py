"""HPAs as YAML, and pods of workloads, for the checks."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import yaml

from metrics_server.advising.findings import Setup
from metrics_server.advising.names import MetricNames
from metrics_server.config.rules import RuleConfig, rules_in_force
from metrics_server.kube.autoscalers import Autoscaler, MetricType, autoscaler_decoder
from metrics_server.kube.pods import Pod
from metrics_server.measuring.fallback import FallbackKind, Simulated
from metrics_server.rules.lookup import Rules
from metrics_server.simulator.kube.objects import Json, Object

RULES = rules_in_force((), gauges=True)


def setup(
    rules: Rules = RULES,
    *,
    types: str = "External Pods Object",
    fallback: tuple[FallbackKind, ...] = ("last-known", "error"),
    simulated: Simulated = Simulated(),  # noqa: B008 - it is frozen
) -> Setup:
    """A configuration; as in the production overlay unless overridden."""
    known: tuple[MetricType, ...] = ("External", "Pods", "Object")
    return Setup(
        names=MetricNames(rules),
        types=frozenset(one for one in known if one in types.split()),
        fallback=fallback,
        last_known_max_age=60,
        simulated=simulated,
    )


def hpa(
    metrics: str,
    *,
    target: str = "Deployment/inference",
    status: Object | None = None,
    names: Callable[[str], bool] = lambda _: True,
    **spec: Json,
) -> Autoscaler:
    """A YAML HPA with these metrics, which scales 3 replicas."""
    kind, _, name = target.partition("/")
    document: Object = {
        "metadata": {"name": "inference", "namespace": "default", "uid": "u-1"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": name},
            "minReplicas": 1,
            "maxReplicas": 10,
            "metrics": yaml.safe_load(metrics),
            **spec,
        },
        "status": {"currentReplicas": 3} if status is None else status,
    }
    return decode(document, names)


def decode(document: Object, names: Callable[[str], bool] = lambda _: True) -> Autoscaler:
    """Decode an HPA manifest."""
    document = json.loads(json.dumps(document))
    meta = document["metadata"]
    assert isinstance(meta, dict)
    meta.setdefault("namespace", "default")
    return autoscaler_decoder(names)(json.dumps(document).encode())


def hpas_of(text: str) -> Iterator[Object]:
    """The HPAs in a multi-document YAML text."""
    for document in yaml.safe_load_all(text):
        if document and document.get("kind") == "HorizontalPodAutoscaler":
            yield document


def pods(
    workload: str = "Deployment/inference",
    labels: Mapping[str, str] | None = None,
    *,
    count: int = 2,
    gpus: int = 1,
    phase: str = "Running",
    terminating: bool = False,
) -> tuple[Pod, ...]:
    """A workload's pods, with the label app: NAME unless others are given."""
    name = workload.rpartition("/")[2] or "bare"
    return tuple(
        Pod(
            namespace="default",
            name=f"{name}-{number}",
            labels={"app": name} if labels is None else labels,
            node="gpu-0",
            phase=phase,
            ready=True,
            terminating=terminating,
            gpus=gpus,
            workload=workload if gpus else "",
        )
        for number in range(count)
    )


def rule(**fields: object) -> Rules:
    """The rules plus one custom rule."""
    reading = {"family": "DCGM_FI_DEV_GPU_UTIL", "maximum": 100}
    config = RuleConfig.model_validate({"readings": [reading], "unit": "percent", **fields})
    return rules_in_force([config], gauges=True)


def query(text: str, **fields: object) -> Rules:
    """The rules with the query `queue_length`."""
    config = RuleConfig.model_validate({"name": "queue_length", "query": text, **fields})
    return rules_in_force([config], gauges=True)


ROOT = Path(__file__).parents[2]
