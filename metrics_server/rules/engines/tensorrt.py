"""TensorRT-LLM: the backend of Triton, trtllm-serve, and NIM for LLMs.

Triton's own nv_inference_pending_request_count is not read: an ensemble and its parts have a row
each, and only the user knows which one matters. The same goes for Triton's histograms of the time
to the first response, which are off by default. The backend counts no tokens.

trtllm-serve (tensorrt_llm/metrics/collector.py) counts a request's tokens when it ends; older
releases do not count them.
"""

from metrics_server.rules.engines.engine import Engine, fraction, p95, per_second, requests

_BACKEND = "nv_trt_llm_request_metrics"
_KV_CACHE = "nv_trt_llm_kv_cache_block_metrics"
# Most of NIM's names have no prefix and could come from any server. This one identifies its page.
_OF_NIM = ("num_request_max",)

TENSORRT = Engine(
    name="tensorrt",
    metrics={
        # One family holds several quantities, which a label distinguishes.
        "llm_requests_waiting": (
            requests(_BACKEND, where=(("request_type", "waiting"),)),
            requests("trtllm_num_requests_waiting"),
            requests("num_requests_waiting", beside=_OF_NIM),
        ),
        "llm_requests_running": (
            requests(_BACKEND, where=(("request_type", "scheduled"),)),
            requests("trtllm_num_requests_running"),
            requests("num_requests_running", beside=_OF_NIM),
        ),
        "llm_kv_cache_utilization": (
            fraction(_KV_CACHE, where=(("kv_cache_block_type", "fraction"),)),
            fraction("trtllm_kv_cache_utilization"),
            fraction("gpu_cache_usage_perc", beside=_OF_NIM),
        ),
        "llm_tokens_per_second": (
            per_second("trtllm_generation_tokens_total"),
            per_second("generation_tokens_total", beside=_OF_NIM),
        ),
        "llm_time_to_first_token_p95": (
            p95("trtllm_time_to_first_token_seconds"),
            p95("time_to_first_token_seconds", beside=_OF_NIM),
        ),
    },
)
