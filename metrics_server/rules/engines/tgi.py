"""Hugging Face: text-generation-inference (router/src) and text-embeddings-inference (te_…).

A gauge is absent until it is first set, so an idle server that has had no request has no value.
"""

from metrics_server.rules.engines.engine import Engine, requests

TGI = Engine(
    name="tgi",
    metrics={
        "llm_requests_waiting": (requests("tgi_queue_size"), requests("te_queue_size")),
        "llm_requests_running": (requests("tgi_batch_current_size"),),
    },
)
