"""SGLang: python/sglang/srt/observability/metrics_collector.py; it needs --enable-metrics.

With priorities, the row whose `priority` is empty is the total of the others. With
--enable-metrics-for-all-schedulers, each tensor and pipeline rank reports the same number.
"""

from metrics_server.rules.engines.engine import Engine, fraction, requests

_TOTAL = (("priority", ""),)
_COPIES = ("tp_rank", "pp_rank", "moe_ep_rank")

SGLANG = Engine(
    name="sglang",
    metrics={
        "llm_requests_waiting": (requests("sglang:num_queue_reqs", where=_TOTAL, copies=_COPIES),),
        "llm_requests_running": (
            requests("sglang:num_running_reqs", where=_TOTAL, copies=_COPIES),
        ),
        "llm_kv_cache_utilization": (fraction("sglang:token_usage", where=_TOTAL, copies=_COPIES),),
    },
)
