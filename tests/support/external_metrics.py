"""Requests for an external metric, and what their tests share."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from metrics_server.api.types import GROUP_VERSION
from metrics_server.simulator.kube.objects import Object
from tests.support.clients import Answer
from tests.support.harness import cluster
from tests.support.objects import pod

PATH = f"/apis/{GROUP_VERSION}/namespaces/default"
METRIC = f"{PATH}/gpu_utilization"

# Powers of two: the mean of any subset identifies it.
UTILIZATION = {"a": 1, "b": 4, "c": 16}


@contextmanager
def nothing_bad_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No traceback is logged, nor anything that needs attention."""
    with caplog.at_level(logging.DEBUG), capture_logs() as events:
        yield
    for event in events:
        assert event["log_level"] in ("debug", "info"), event
        assert "exc_info" not in event
        assert "\n" not in str(event)
    ours = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert not [record for record in ours if record.exc_info or record.levelno > logging.INFO]


def a_pod(namespace: str, app: str, name: str, resource: str = "nvidia.com/gpu") -> Object:
    """A pod on the recorded pages, all of which are served on one node."""
    return pod(name, namespace=namespace, labels={"app": app}, resource=resource)


MIG = "nvidia.com/mig-1g.10gb"
PAGES = {
    "dcgm-2.x": [
        a_pod("ml-serving", "bert", "bert-server-6d5f7c9b88-x2x7k"),
        a_pod("ml-serving", "bert", "bert-server-6d5f7c9b88-q8r5m"),
        a_pod("research", "train", "train-resnet-0"),
    ],
    "dcgm-3.x-8gpu-multi-pod": [
        a_pod("inference", "vllm", "vllm-llama3-70b-7c9d8b6f5d-4xkqp"),
        a_pod("inference", "vllm", "vllm-llama3-70b-7c9d8b6f5d-tz9lm"),
        a_pod("inference", "embedder", "embedder-5f6b4c7d9c-h2v8w"),
        a_pod("notebooks", "jupyter", "jupyter-alice-0"),
    ],
    "dcgm-4.x-8gpu": [
        a_pod("inference", "vllm", "vllm-llama3-70b-66c7f7b9d4-8qv2n"),
        a_pod("inference", "vllm", "vllm-llama3-70b-66c7f7b9d4-lm5jd"),
        a_pod("inference", "embedder", "embedder-58d9f6c7bb-w7c4z"),
        a_pod("notebooks", "jupyter", "jupyter-alice-0"),
    ],
    "dcgm-mig": [
        a_pod("serving", "llm", "llm-a-5c8d7f6b9-kx2lp", "nvidia.com/mig-3g.40gb"),
        a_pod("serving", "embed", "embed-b-7d9c5b4f8-zz7wq", "nvidia.com/mig-2g.20gb"),
        a_pod("serving", "tiny", "tiny-c-6f5d8c7b4-m4q9t", MIG),
        *(a_pod("serving", "worker", f"worker-{n}", MIG) for n in range(4)),
        a_pod("training", "pretrain", "pretrain-0"),
    ],
}


async def asked(
    pods: list[Object], text: str = "", metric: str = "gpu_utilization"
) -> tuple[int, str]:
    """The code and the message for a question about app=x, with one node and no fallback."""
    async with cluster({"gpu-0": text}, pods) as simulated:
        return told(await simulated.client.metric("default", metric, "app=x"))


def told(answer: Answer) -> tuple[int, str]:
    """The code and the message of an error; its reason must match the code."""
    status = answer.error()
    reasons = {404: "NotFound", 503: "ServiceUnavailable"}
    assert status.reason == reasons[status.code]
    return status.code, status.message
