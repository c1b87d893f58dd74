"""The metrics pages of vLLM and of an endpoint picker, as they serve them.

Every HELP line says that the page is simulated.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from metrics_server.simulator.engines.traffic import (
    BATCH,
    GENERATED_TOKENS,
    PROMPT_TOKENS,
    Engine,
)

_SIMULATED = "simulated: no such engine exists."


def vllm_page(engine: Engine, model: str) -> str:
    """Render the page of a vLLM server with one engine, by the library that vLLM uses.

    It has no histograms, as the simulation knows no latencies.
    """
    registry = CollectorRegistry()
    registry.register(_Vllm(engine, model))
    return generate_latest(registry).decode()


class _Vllm:
    def __init__(self, engine: Engine, model: str) -> None:
        self._engine = engine
        self._labels = {"engine": "0", "model_name": model}

    def collect(self) -> Iterable[Metric]:
        """Return the families, for prometheus_client."""
        running, waiting, done = self._engine.running, self._engine.waiting, self._engine.finished
        yield self._gauge("num_requests_running", "Requests in the batch", running)
        yield self._gauge("num_requests_waiting", "Requests not scheduled", waiting)
        by_reason = {"capacity": waiting, "deferred": 0}
        yield self._gauges("num_requests_waiting_by_reason", "The same", "reason", by_reason)
        states = {"awake": 1, "weights_offloaded": 0, "discard_all": 0}
        yield self._gauges("engine_sleep_state", "1 if in force", "sleep_state", states)
        usage = round(running / BATCH * 0.9, 6)
        yield self._gauge("kv_cache_usage_perc", "Part of the KV cache in use", usage)
        yield self._counter("num_preemptions", "Preempted requests", 0)
        yield self._counter("prompt_tokens", "Prompt tokens", done * PROMPT_TOKENS)
        yield self._counter("generation_tokens", "Generated tokens", done * GENERATED_TOKENS)
        success = self._family("request_success", "Finished requests", "counter")
        for reason in ("stop", "length", "abort", "error"):
            labels = self._labels | {"finished_reason": reason}
            value = done if reason == "stop" else 0
            success.add_sample("vllm:request_success_total", labels, value)
        yield success

    def _family(self, name: str, text: str, kind: str) -> Metric:
        return Metric(f"vllm:{name}", f"{text}, {_SIMULATED}", kind)

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = self._family(name, text, "gauge")
        family.add_sample(family.name, self._labels, value)
        return family

    def _gauges(self, name: str, text: str, label: str, rows: Mapping[str, float]) -> Metric:
        family = self._family(name, text, "gauge")
        for value, number in rows.items():
            family.add_sample(family.name, self._labels | {label: value}, number)
        return family

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = self._family(name, text, "counter")
        family.add_sample(f"{family.name}_total", self._labels, value)
        return family


class Flow(Struct, frozen=True):
    """An endpoint picker's figures for one model.

    Attributes:
        pool: the InferencePool of the model's pods.
        ready: how many of them are Ready.
        held: requests that it holds.
        running: requests that it has sent on; None before the first one.
    """

    pool: str
    ready: int
    held: int = 0
    running: int | None = None


def gateway_page(flows: Mapping[str, Flow]) -> str:
    """Render the page of an endpoint picker.

    It writes each family under two names. A flow's row of the queue exists while requests wait.

    Args:
        flows: what it knows of each model, by the model's name.
    """
    pools = {f'name="{flow.pool}"': flow.ready for flow in flows.values()}
    held = {_queue_labels(model, flow): flow.held for model, flow in flows.items() if flow.held}
    started = {model: flow for model, flow in flows.items() if flow.running is not None}
    by_flow = {
        f'fairness_id="default",{_model_labels(model)}': flow.running
        for model, flow in started.items()
    }
    by_model = {f'model_name="{model}"': flow.running for model, flow in started.items()}
    return "".join(
        _family(name, text, rows)
        for name, text, rows in (
            ("inference_pool_ready_pods", "Ready pods", pools),
            ("llm_d_epp_ready_endpoints", "Ready endpoints", pools),
            ("inference_objective_running_requests", "Requests in flight", by_model),
            ("llm_d_epp_request_running", "Requests in flight", by_flow),
            ("inference_extension_flow_control_queue_size", "Requests held", held),
            ("llm_d_epp_flow_control_queue_size", "Requests held", held),
        )
    )


def _queue_labels(model: str, flow: Flow) -> str:
    return f'fairness_id="default",inference_pool="{flow.pool}",{_model_labels(model)}'


def _model_labels(model: str) -> str:
    return f'model_name="{model}",priority="0",target_model_name="{model}"'


def _family(name: str, text: str, rows: Mapping[str, int | None]) -> str:
    """Render a family as Go's client does; without rows it is absent."""
    if not rows:
        return ""
    lines = "".join(f"{name}{{{labels}}} {value}\n" for labels, value in rows.items())
    return f"# HELP {name} {text}, simulated: no such gateway exists.\n# TYPE {name} gauge\n{lines}"
