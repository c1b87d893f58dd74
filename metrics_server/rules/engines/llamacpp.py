"""llama.cpp's server (tools/server/README.md), which needs --metrics; and LMDeploy.

llama.cpp counts a request's tokens when it ends (tools/server, metrics.on_prediction), and does not
report the time to the first token. LMDeploy: lmdeploy/metrics/loggers.py.
"""

from metrics_server.rules.engines.engine import Engine, fraction, p95, per_second, requests

LLAMACPP = Engine(
    name="llamacpp",
    metrics={
        "llm_requests_waiting": (
            requests("llamacpp:requests_deferred"),
            requests("lmdeploy:num_requests_waiting"),
        ),
        # At most the number of slots, which is 1 by default.
        "llm_requests_running": (
            requests("llamacpp:requests_processing"),
            requests("lmdeploy:num_requests_running"),
        ),
        "llm_kv_cache_utilization": (fraction("lmdeploy:gpu_cache_usage_perc"),),
        "llm_tokens_per_second": (
            per_second("llamacpp:tokens_predicted_total"),
            per_second("lmdeploy:generation_tokens_total"),
        ),
        "llm_time_to_first_token_p95": (p95("lmdeploy:time_to_first_token_seconds"),),
    },
)
