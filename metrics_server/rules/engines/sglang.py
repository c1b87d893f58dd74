"""SGLang: python/sglang/srt/observability/metrics_collector.py; it needs --enable-metrics.

With priorities, the row whose `priority` is empty is the total of the others. With
--enable-metrics-for-all-schedulers, each tensor and pipeline rank reports the same number.

Tokens and the time to the first token are counted by the tokenizer's process, once for all ranks
and without a total over priorities; a request's tokens are counted when it ends.
"""

from metrics_server.rules.engines.engine import Engine, fraction, p95, per_second, requests

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
        "llm_tokens_per_second": (per_second("sglang:generation_tokens_total"),),
        "llm_time_to_first_token_p95": (p95("sglang:time_to_first_token_seconds"),),
    },
)
