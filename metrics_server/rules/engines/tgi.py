"""Hugging Face: text-generation-inference (router/src) and text-embeddings-inference (te_…).

A gauge is absent until it is first set, so an idle server that has had no request has no value.
There is no counter of tokens: the sum of the histogram of tokens per request is one, which grows
when a request ends (router/src/server.rs). The time to the first token is not reported.
"""

from metrics_server.rules.engines.engine import Engine, per_second, requests

TGI = Engine(
    name="tgi",
    metrics={
        "llm_requests_waiting": (requests("tgi_queue_size"), requests("te_queue_size")),
        "llm_requests_running": (requests("tgi_batch_current_size"),),
        "llm_tokens_per_second": (per_second("tgi_request_generated_tokens_sum"),),
    },
)
