"""vLLM: vllm/v1/metrics/loggers.py, docs/usage/metrics.md; and vLLM inside Ray Serve.

All families are present from the start, at 0. With data parallelism a page has a row for each
engine. With several API servers, releases before November 2025 had a row of the KV cache for each
process (`pid`), most of them 0 (vllm-project/vllm#28792); counters and histograms have one for all.
Tokens are counted as they are generated. iteration_tokens_total is a histogram, whatever its name
says.
"""

from metrics_server.rules.engines.engine import Engine, fraction, p95, per_second, requests

_COPIES = ("pid",)
_RAY = "ray_vllm_num_requests_running"

VLLM = Engine(
    name="vllm",
    metrics={
        # Not num_requests_waiting_by_reason as well: its rows add up to this one.
        "llm_requests_waiting": (
            requests("vllm:num_requests_waiting", copies=_COPIES),
            requests("ray_vllm_num_requests_waiting", beside=(_RAY,)),
        ),
        "llm_requests_running": (
            requests("vllm:num_requests_running", copies=_COPIES),
            requests(_RAY),
        ),
        # A fraction, whatever the name says. The second name is used by releases up to 0.8.
        "llm_kv_cache_utilization": (
            fraction("vllm:kv_cache_usage_perc", copies=_COPIES),
            fraction("vllm:gpu_cache_usage_perc", copies=_COPIES),
            fraction("ray_vllm_kv_cache_usage_perc"),
        ),
        # Some releases of Ray have counters both with and without _total.
        "llm_tokens_per_second": (
            per_second("vllm:generation_tokens_total"),
            per_second("ray_vllm_generation_tokens_total"),
            per_second("ray_vllm_generation_tokens"),
        ),
        "llm_time_to_first_token_p95": (
            p95("vllm:time_to_first_token_seconds"),
            p95("ray_vllm_time_to_first_token_seconds"),
        ),
    },
)
