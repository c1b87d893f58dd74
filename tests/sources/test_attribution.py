"""Values on recorded pages with their pods and GPUs, determined by hand."""

from collections.abc import Mapping

import pytest
from msgspec import Struct

from metrics_server.rules.families import MIB
from metrics_server.sources.exporters.pod_mapper import attribute
from metrics_server.sources.exporters.sheet import Sheet
from tests.support.attribution import METRICS, PAGES, READINGS, UTILIZATION, flat

Values = tuple[float | None, ...]


class Page(Struct, frozen=True):
    """The values on a page, determined by hand.

    Attributes:
        gpus: (namespace, pod, the first block of the UUID and the GPU_I_ID) to the value of each
            metric, None if it is missing.
        unattributed, rejected, conflicting: Attribution's counts, for each metric.
    """

    gpus: Mapping[tuple[str, str, str], Values]
    unattributed: tuple[int, ...] = (0,) * 8
    rejected: tuple[int, ...] = (0,) * 8
    conflicting: tuple[int, ...] = (0,) * 8


BERT_1 = ("ml-serving", "bert-server-6d5f7c9b88-x2x7k")
BERT_2 = ("ml-serving", "bert-server-6d5f7c9b88-q8r5m")
RESNET = ("research", "train-resnet-0")
VLLM_1 = ("inference", "vllm-llama3-70b-7c9d8b6f5d-4xkqp")
VLLM_2 = ("inference", "vllm-llama3-70b-7c9d8b6f5d-tz9lm")
VLLM_3 = ("inference", "vllm-llama3-70b-66c7f7b9d4-8qv2n")
VLLM_4 = ("inference", "vllm-llama3-70b-66c7f7b9d4-lm5jd")
EMBED_1 = ("inference", "embedder-5f6b4c7d9c-h2v8w")
EMBED_2 = ("inference", "embedder-58d9f6c7bb-w7c4z")
JUPYTER = ("notebooks", "jupyter-alice-0")
LLM_A = ("serving", "llm-a-5c8d7f6b9-kx2lp")
EMBED_B = ("serving", "embed-b-7d9c5b4f8-zz7wq")
TINY_C = ("serving", "tiny-c-6f5d8c7b4-m4q9t")
PRETRAIN = ("training", "pretrain-0")

BY_HAND = {
    # Every value is on the page exactly like this. Four GPUs are idle: pod="".
    "dcgm-2.x": Page(
        {
            (*BERT_1, "6b0404f2"): (97, 46, 29584, 2926, 278.934, 62, 1530, 877),
            (*BERT_2, "b1a4a4f9"): (88, 33, 24057, 8453, 243.447, 61, 1530, 877),
            (*RESNET, "05013278"): (100, 67, 31209, 1301, 281.164, 64, 1530, 877),
            (*RESNET, "fd234065"): (100, 68, 31209, 1301, 288.163, 64, 1530, 877),
        },
        unattributed=(4,) * 8,
    ),
    # Every value is on the page. Two pods have two GPUs each, as has the notebook, in two
    # containers, one at 0, which is a value. GPU 7 is idle: no pod label.
    "dcgm-3.x-8gpu-multi-pod": Page(
        {
            (*VLLM_1, "06a3f5be"): (93, 27, 75377, 5674, 347.217, 62, 1410, 1593),
            (*VLLM_1, "18dc13e4"): (95, 35, 75377, 5674, 375.597, 62, 1410, 1593),
            (*VLLM_2, "6186341f"): (41, 17, 75377, 5674, 211.546, 46, 1410, 1593),
            (*VLLM_2, "f1a35d5f"): (38, 21, 75377, 5674, 200.303, 45, 1410, 1593),
            (*EMBED_1, "9f906803"): (12, 8, 17020, 64031, 105.329, 34, 1410, 1593),
            (*JUPYTER, "dd0b3d5c"): (0, 0, 4052, 76999, 64.221, 28, 210, 1593),
            (*JUPYTER, "90bf6f21"): (67, 30, 35662, 45389, 264.905, 55, 1410, 1593),
        },
        unattributed=(1,) * 8,
    ),
    # As above, in Go's number format, in another order, and with the pods' own labels,
    # among them statefulset_kubernetes_io_pod_name and pod_label_namespace="team-search".
    "dcgm-4.x-8gpu": Page(
        {
            (*VLLM_3, "93075e86"): (99, 63, 136002, 7159, 630.463, 63, 1980, 3201),
            (*VLLM_3, "9f4924b8"): (98, 20, 136002, 7159, 657.637, 63, 1980, 3201),
            (*VLLM_4, "49ed5c7c"): (71, 42, 136002, 7159, 472.247, 55, 1980, 3201),
            (*VLLM_4, "8b964956"): (69, 30, 136002, 7159, 467.64, 52, 1980, 3201),
            (*EMBED_2, "0053e8dd"): (23, 15, 25768, 117393, 251.961, 37, 1980, 3201),
            (*JUPYTER, "1333cff0"): (0, 0, 4294, 138867, 76.662, 29, 345, 3201),
            (*JUPYTER, "fcfab13a"): (54, 11, 52969, 90192, 424.089, 49, 1980, 3201),
        },
        unattributed=(1,) * 8,
    ),
    # The exporter does not ask the kubelet: no pod has a value.
    "dcgm-no-kubernetes": Page({}, unattributed=(4,) * 8),
    # No pod has a GPU; older exporters write pod="".
    "dcgm-idle-unallocated": Page({}, unattributed=(8,) * 8),
    "dcgm-idle-unallocated-empty-labels": Page({}, unattributed=(8,) * 8),
    # An exporter's first 30 seconds.
    "dcgm-empty": Page({}),
    # Utilization: 7 of 8 GPU_UTIL values are sentinels, garbage, or -1. GR_ENGINE_ACTIVE x 100
    # replaces 5 of these; for GPU 0 it is a sentinel and for GPU 3 NaN: 7 + 2 rejected. GPU 4
    # reads 1.000213, which the caller clamps. Elsewhere a sentinel for one GPU is missing.
    "dcgm-sentinel-values": Page(
        {
            (*VLLM_1, "9974d75b"): (None, 46, 40525, 40526, 346.675, 63, 1410, 1593),
            (*VLLM_1, "dc8ac0bb"): (40.0863, 20, None, 40526, 207.6, 44, 1410, 1593),
            (*VLLM_1, "14b062ae"): (49.5985, 38, 40525, 40526, None, 49, None, None),
            (*VLLM_1, "2bd2ed1c"): (None, 0, 40525, 40526, 63.421, 31, 210, 1593),
            (*VLLM_2, "f94cf6b0"): (100.0213, 44, 40525, 40526, 294.614, 55, 1410, 1593),
            (*VLLM_2, "1e641766"): (62.9552, None, 40525, 40526, 258.592, 51, 1410, 1593),
            (*VLLM_2, "d5223ad8"): (28.7021, 12, 40525, 40526, 153.498, 40, 1410, 1593),
            (*VLLM_2, "39de23c8"): (20, 11, 40525, 40526, 143.697, 38, 1410, 1593),
        },
        rejected=(9, 1, 1, 0, 1, 0, 1, 1),
    ),
    # Utilization: rows with 61, 61 and 58, and another with two values for "gpu". Another row
    # of FB_USED has an unescaped quote, of SM_CLOCK no value, of MEM_CLOCK no pod; that of
    # POWER_USAGE is cut. The good row of each is there, and so names the GPU's pod.
    "dcgm-malformed-lines": Page(
        {(*VLLM_1, "604ac76c"): (None, 13, 40525, 40526, 265.56, 52, 1410, 1593)},
        conflicting=(1, 0, 0, 0, 0, 0, 0, 0),
    ),
    # Instances have no *_UTIL: their utilization is GR_ENGINE_ACTIVE x 100, while that of
    # whole GPUs is GPU_UTIL (GR_ENGINE_ACTIVE would give 92.5618 and so on). Temperature, power
    # and clocks are the parent's. Four instances and two GPUs are idle; instances have
    # no row in MEM_COPY_UTIL. A memory clock of 2619 is right here, though garbage elsewhere.
    "dcgm-mig": Page(
        {
            (*LLM_A, "32833106/1"): (81.2345, None, 25089, 15359, 280.211, 40, 1980, 2619),
            (*EMBED_B, "32833106/3"): (21.4433, None, 7090, 13134, 280.211, 40, 1980, 2619),
            (*TINY_C, "32833106/9"): (0, None, 111, 9873, 280.211, 40, 1980, 2619),
            ("serving", "worker-0", "ff6af8af/7"): (95, None, 7999, 1985, 612.853, 60, 1980, 2619),
            ("serving", "worker-1", "ff6af8af/8"): (91, None, 7999, 1985, 612.853, 60, 1980, 2619),
            ("serving", "worker-2", "ff6af8af/9"): (40, None, 5004, 4980, 612.853, 60, 1980, 2619),
            ("serving", "worker-3", "ff6af8af/10"): (7, None, 2008, 7976, 612.853, 60, 1980, 2619),
            (*PRETRAIN, "cd28d864"): (97, 23, 72905, 8101, 672.149, 64, 1980, 2619),
            (*PRETRAIN, "879be8e7"): (97, 31, 72905, 8101, 614.756, 65, 1980, 2619),
            (*PRETRAIN, "beef28e4"): (97, 22, 72905, 8101, 633.459, 62, 1980, 2619),
            (*PRETRAIN, "d0b75fea"): (97, 20, 72905, 8101, 657.807, 62, 1980, 2619),
        },
        unattributed=(6, 2, 6, 6, 6, 6, 6, 6),
    ),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", BY_HAND)
def test_a_page_gives_what_a_person_reads_from_it(name: str, metric: str) -> None:
    """Each pod has each of its GPUs, with the value in the table above."""
    column, page = METRICS.index(metric), BY_HAND[name]
    unit = MIB if metric in {"gpu_memory_used", "gpu_memory_free"} else 1
    expected = {
        gpu: value * unit
        for gpu, values in page.gpus.items()
        if (value := values[column]) is not None
    }
    attribution = attribute(Sheet(PAGES[name]), READINGS[metric])
    assert flat(attribution) == pytest.approx(expected)
    assert attribution.unattributed == page.unattributed[column]
    assert attribution.rejected == page.rejected[column]
    assert attribution.conflicting == page.conflicting[column]


def test_a_pod_with_two_shares_of_a_gpu_has_it_once() -> None:
    """Time-slicing repeats a device's value for each share: each pod has that device once."""
    values = flat(attribute(Sheet(PAGES["dcgm-time-slicing"]), UTILIZATION))
    assert {(pod[:14], gpu): value for (_, pod, gpu), value in values.items()} == {
        ("gpu-workload-1", "323d3ab0"): 99,
        ("gpu-workload-2", "323d3ab0"): 99,
        ("gpu-workload-3", "323d3ab0"): 99,
        ("gpu-workload-4", "f3cd8ce1"): 17,
    }
