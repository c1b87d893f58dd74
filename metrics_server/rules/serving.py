"""The built-in metrics of inference engines and gateways, read from the pods' own pages."""

from collections.abc import Sequence

from msgspec import Struct, structs

from metrics_server.rules.engines.engine import (
    MAX_REQUESTS,
    MAX_SECONDS,
    MAX_TOKENS_PER_SECOND,
    Engine,
)
from metrics_server.rules.engines.registry import ENGINES
from metrics_server.rules.model import Aggregation, MetricRule, sum_of

# So that a mean of a few requests is not rounded to a whole number.
_DECIMALS = 3
# For rates and quantiles: several requests end within it, at any load worth scaling on.
_WINDOW = 60


class _Metric(Struct, frozen=True):
    """A metric, whichever engine a pod runs."""

    name: str
    help: str
    unit: str
    maximum: float
    over_series: Aggregation = "sum"
    over_pods: Aggregation = "avg"
    window: int = 0


_METRICS = (
    _Metric(
        "llm_requests_waiting",
        "requests waiting in the inference engine",
        "requests",
        MAX_REQUESTS,
    ),
    _Metric(
        "llm_requests_running",
        "requests that the inference engine is working on",
        "requests",
        MAX_REQUESTS,
    ),
    _Metric(
        "llm_kv_cache_utilization",
        "share of the inference engine's KV cache in use",
        "percent",
        100,
        over_series="avg",
    ),
    _Metric(
        "llm_tokens_per_second",
        "tokens that the inference engine generates each second",
        "tokens/s",
        MAX_TOKENS_PER_SECOND,
        window=_WINDOW,
    ),
    # A quantile is of all the engines in a pod together.
    _Metric(
        "llm_time_to_first_token_p95",
        "time within which 95 % of the requests get their first token",
        "seconds",
        MAX_SECONDS,
        window=_WINDOW,
    ),
    _Metric(
        "inference_queue_size",
        "requests that the gateway's endpoint picker holds, over all of its pods",
        "requests",
        MAX_REQUESTS,
        over_pods="sum",
    ),
    _Metric(
        "inference_running_requests",
        "requests that the gateway's endpoint picker has sent on, over all of its pods",
        "requests",
        MAX_REQUESTS,
        over_pods="sum",
    ),
)


def serving(engines: Sequence[Engine]) -> tuple[MetricRule, ...]:
    """Return every metric of these engines: its mean over pods, its maximum and its sum.

    A quantile has no sum.
    """
    rules = [_rule(metric, engines) for metric in _METRICS]
    means = [rule for rule in rules if rule.over_pods == "avg"]
    return (*rules, *(sum_of(rule) for rule in means if rule.has_sum), *map(_max_of, means))


def _rule(metric: _Metric, engines: Sequence[Engine]) -> MetricRule:
    return MetricRule(
        metric.name,
        metric.help,
        metric.unit,
        tuple(reading for engine in engines for reading in engine.metrics.get(metric.name, ())),
        metric.maximum,
        over_pods=metric.over_pods,
        decimals=_DECIMALS,
        window=metric.window,
        measures="pods",
        sources=("pods",),
        over_series=metric.over_series,
    )


def _max_of(rule: MetricRule) -> MetricRule:
    return structs.replace(
        rule,
        name=f"{rule.name}_max",
        help=f"{rule.help}: of the pod with the most",
        over_pods="max",
    )


SERVING = serving(ENGINES)
