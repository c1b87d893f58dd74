"""Pods' use of their GPUs, as rows (pure)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from metrics_server.common.text import printable
from metrics_server.kube.pods import Pod
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import MetricRule
from metrics_server.rules.serving import SERVING
from metrics_server.sources.exporters.page import Page

Sort = Literal["utilization", "memory", "power", "name"]

METRICS: Mapping[str, str] = {
    "utilization": "gpu_utilization",
    "memory": "gpu_memory_used",
    "memory_share": "gpu_memory_utilization",
    "power": "gpu_power_usage",
}
"""The metrics of a GPU, by the field of a `Use`."""

ENGINE_METRICS: Mapping[str, str] = {
    "waiting": "llm_requests_waiting",
    "running": "llm_requests_running",
    "cache": "llm_kv_cache_utilization",
}
"""The metrics of a pod's inference engine, likewise."""

_BUILT_IN = Rules((*CATALOGUE, *SERVING))
_MIB = 1024 * 1024
_HEADINGS = ("NAMESPACE", "POD", "GPU", "UTIL", "MEMORY", "OF", "POWER")
_ENGINE_HEADINGS = ("WAITING", "RUNNING", "KV CACHE")
_GPU_SHOWN = 12


class Use(Struct, frozen=True):
    """A pod's use of one GPU, or of all of its GPUs.

    Attributes:
        namespace: of the pod.
        pod: its name.
        gpu: what identifies the GPU on its node; "" for the mean over all of the pod's.
        utilization: in percent; None if there is no value, as for the others.
        memory: in bytes.
        memory_share: in percent.
        power: in watts.
        waiting: requests waiting in its inference engine.
        running: requests that run in it.
        cache: how much of its KV cache is used, in percent.
    """

    namespace: str
    pod: str
    gpu: str = ""
    utilization: float | None = None
    memory: float | None = None
    memory_share: float | None = None
    power: float | None = None
    waiting: float | None = None
    running: float | None = None
    cache: float | None = None


Values = Mapping[str, Mapping[str, float]]
"""By the field of a `Use`, the value of each pod, by its name."""


def uses_of_pages(
    pods: Iterable[Pod], pages: Mapping[str, Sequence[Page]], rules: Rules, engines: Values
) -> Sequence[Use]:
    """Return what pods use, GPU by GPU.

    Args:
        pods: the pods, all of one namespace.
        pages: the pages of each node's exporters.
        rules: the metrics that are served.
        engines: the values of the pods' inference engines.
    """
    found: list[Use] = []
    for pod in pods:
        gpus: dict[str, dict[str, float]] = {}
        for field, metric in METRICS.items():
            readings = _on_pages(metric, rules).readings
            for page in pages.get(pod.node, ()):
                values = page.attribution(readings).by_pod.get((pod.namespace, pod.name), {})
                for gpu, value in values.items():
                    gpus.setdefault(gpu, {}).setdefault(field, value)
        own = {field: values[pod.name] for field, values in engines.items() if pod.name in values}
        rows = [
            _use(pod.namespace, pod.name, gpu, values) for gpu, values in sorted(gpus.items())
        ] or [Use(pod.namespace, pod.name)]
        # Those of the engine are the pod's: once is enough.
        found += [_with(rows[0], own), *rows[1:]]
    return found


def has_its_unit(metric: str, rules: Rules) -> bool:
    """Whether a metric has the unit of its column: a rule of the same name may have another."""
    return rules.find(metric).unit == _BUILT_IN.find(metric).unit


def _on_pages(metric: str, rules: Rules) -> MetricRule:
    """Return the rule by which a metric is read on exporters' pages.

    That is the built-in one, unless the one in force is read there too, in the same unit.
    """
    rule = rules.find(metric)
    if "exporters" in rule.sources and has_its_unit(metric, rules):
        return rule
    return _BUILT_IN.find(metric)


def uses_of_values(namespace: str, values: Values) -> Sequence[Use]:
    """Return what pods use, each over all of its GPUs.

    Args:
        namespace: of the pods.
        values: the values of the pods.
    """
    names = sorted({pod for of_field in values.values() for pod in of_field})
    return [
        _with(
            Use(namespace, name),
            {field: of_field[name] for field, of_field in values.items() if name in of_field},
        )
        for name in names
    ]


def _use(namespace: str, pod: str, gpu: str, values: Mapping[str, float]) -> Use:
    return _with(Use(namespace, pod, gpu), values)


def _with(use: Use, values: Mapping[str, float]) -> Use:
    return msgspec.convert({**msgspec.to_builtins(use), **values}, Use)


def sorted_by(uses: Iterable[Use], by: Sort) -> Sequence[Use]:
    """Return uses in order: the highest first, those without a value last; or by name."""
    in_order = sorted(uses, key=lambda one: (one.namespace, one.pod, one.gpu))
    if by == "name":
        return in_order
    keys = {
        "utilization": lambda one: one.utilization,
        "memory": lambda one: one.memory,
        "power": lambda one: one.power,
    }
    return sorted(in_order, key=lambda one: _descending(keys[by](one)))


def _descending(value: float | None) -> float:
    return 1.0 if value is None else -value


def rows(uses: Sequence[Use]) -> Sequence[Sequence[str]]:
    """Return a table, with its headings; columns of inference engines only if one has a value."""
    with_engines = any(
        value is not None for one in uses for value in (one.waiting, one.running, one.cache)
    )
    table: list[Sequence[str]] = [_HEADINGS + (_ENGINE_HEADINGS if with_engines else ())]
    for one in uses:
        cells = [
            one.namespace,
            printable(one.pod, 100),
            printable(one.gpu, _GPU_SHOWN) if one.gpu else "-",
            _shown(one.utilization, "%"),
            _shown(None if one.memory is None else one.memory / _MIB, " MiB"),
            _shown(one.memory_share, "%"),
            _shown(one.power, " W"),
        ]
        if with_engines:
            cells += [
                _shown(one.waiting, ""),
                _shown(one.running, ""),
                _shown(one.cache, "%"),
            ]
        table.append(cells)
    return table


def _shown(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.0f}{unit}"


def as_text(uses: Sequence[Use]) -> str:
    """Return a table as plain text."""
    table = rows(uses)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "".join("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in table)


def as_json(uses: Sequence[Use], source: str) -> str:
    """Return uses as JSON.

    Args:
        uses: in order.
        source: where the values are from, in words.
    """
    document = {"source": source, "gpus": [msgspec.to_builtins(one) for one in uses]}
    return json.dumps(document, indent=2) + "\n"
