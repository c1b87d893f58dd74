"""What a row's labels tell of its GPU and its pod."""

from collections.abc import Mapping

import pytest

from metrics_server.exporters.dialects import DIALECTS, Dialect, Subject, subject

GPU = {"gpu": "0", "UUID": "GPU-1"}
POD = {"namespace": "n", "pod": "p"}


@pytest.mark.parametrize(
    ("labels", "measured"),
    [
        ({**GPU, **POD}, Subject("GPU-1", ("n", "p"))),
        # An instance of a MIG GPU has its parent's UUID.
        ({**GPU, **POD, "GPU_I_ID": "7"}, Subject("GPU-1/7", ("n", "p"))),
        ({**GPU, **POD, "GPU_I_ID": ""}, Subject("GPU-1", ("n", "p"))),
        # --use-old-namespace.
        (
            {"gpu": "0", "uuid": "GPU-1", "pod_namespace": "n", "pod_name": "p"},
            Subject("GPU-1", ("n", "p")),
        ),
        # Labels of the pod itself that are called as the old ones of the exporter are.
        (
            {**GPU, **POD, "uuid": "x", "pod_namespace": "y", "pod_name": "z"},
            Subject("GPU-1", ("n", "p")),
        ),
        ({**GPU, "pod_namespace": "y", "pod_name": "z"}, Subject("GPU-1", None)),
        # Idle, or an exporter that does not ask the kubelet.
        (GPU, Subject("GPU-1", None)),
        ({**GPU, "namespace": "", "pod": ""}, Subject("GPU-1", None)),
        ({**GPU, "pod": "p"}, Subject("GPU-1", None)),
        ({**GPU, "namespace": "n"}, Subject("GPU-1", None)),
        # Prometheus relabels; an exporter does not.
        ({**GPU, "exported_namespace": "n", "exported_pod": "p"}, Subject("GPU-1", None)),
        # A label of the pod that is called as one of the exporter's is.
        ({**GPU, **POD, "pod": None}, None),
        ({**GPU, **POD, "namespace": None}, None),
        ({**GPU, **POD, "gpu": None}, None),
        ({**GPU, **POD, "UUID": None}, None),
        ({**GPU, **POD, "GPU_I_ID": None}, None),
        ({**GPU, **POD, "device": None}, Subject("GPU-1", ("n", "p"))),
        ({**GPU, **POD, "pod_name": None}, Subject("GPU-1", ("n", "p"))),
        # Not GPUs: a link, a switch, a CPU; and nothing at all.
        ({"nvlink": "0", "nvswitch": "1", **POD}, None),
        ({"gpu": "0", "nvlink": "3", **POD}, None),
        ({"UUID": "GPU-1", **POD}, None),
        ({"gpu": "0", "UUID": "", **POD}, None),
        ({"cpu": "0", "cpucore": "3"}, None),
        ({}, None),
    ],
)
def test_a_rows_labels_tell_its_gpu_and_its_pod(
    labels: Mapping[str, str | None], measured: Subject | None
) -> None:
    """GPU and pod are told exactly, or not at all."""
    assert subject(labels) == measured


def test_another_exporter_is_more_data() -> None:
    """An exporter that names a GPU by its place on the node needs a dialect, and no code."""
    amd = Dialect(marks=("gpu_id", "gpu_partition_id"), gpu=("gpu_id", "gpu_partition_id"))
    row = {"gpu_id": "3", "gpu_partition_id": "0", "serial_number": "", **POD}
    assert subject(row) is None
    assert subject(row, (*DIALECTS, amd)) == Subject("3/0", ("n", "p"))
    assert subject({**GPU, **POD}, (*DIALECTS, amd)) == Subject("GPU-1", ("n", "p"))
