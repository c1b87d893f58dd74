"""The built-in engines, one on each line."""

from metrics_server.rules.engines.engine import Engine
from metrics_server.rules.engines.gateway import GATEWAY
from metrics_server.rules.engines.llamacpp import LLAMACPP
from metrics_server.rules.engines.sglang import SGLANG
from metrics_server.rules.engines.tensorrt import TENSORRT
from metrics_server.rules.engines.tgi import TGI
from metrics_server.rules.engines.vllm import VLLM

ENGINES: tuple[Engine, ...] = (
    VLLM,
    SGLANG,
    TGI,
    TENSORRT,
    LLAMACPP,
    GATEWAY,
)
"""In order of preference, for a page with the families of two of them."""
