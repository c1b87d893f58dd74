"""llama.cpp's server (tools/server/README.md), which needs --metrics; and LMDeploy."""

from metrics_server.rules.engines.engine import Engine, fraction, requests

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
    },
)
