"""The endpoint picker of the Gateway API Inference Extension, now llm-d-router.

It emits the same families under two or three prefixes at once; one of them is read. A flow's row
appears with its first request and is deleted with the flow, so no row means an empty queue if the
page is the picker's (pkg/epp/flowcontrol/controller/controller.go). The averages over the pool are
not read: they freeze while no pod is ready.
"""

from metrics_server.rules.engines.engine import Engine, requests

_ALWAYS = ("llm_d_epp_ready_endpoints", "inference_pool_ready_pods")

GATEWAY = Engine(
    name="gateway",
    metrics={
        "inference_queue_size": (
            requests("llm_d_epp_flow_control_queue_size"),
            requests("inference_extension_flow_control_queue_size", zero_beside=_ALWAYS),
        ),
        "inference_running_requests": (
            requests("llm_d_epp_request_running"),
            requests("inference_objective_running_requests", zero_beside=_ALWAYS),
        ),
    },
)
