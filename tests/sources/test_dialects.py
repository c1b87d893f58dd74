"""Reading a row's GPU and pod from its labels."""

from collections.abc import Mapping

import pytest

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.presets import DIALECTS
from metrics_server.sources.exporters.dialects import Subject, subject

GPU = {"gpu": "0", "UUID": "GPU-1"}
POD = {"namespace": "n", "pod": "p"}
OLD = {"gpu": "0", "uuid": "GPU-1", "pod_namespace": "n", "pod_name": "p"}


@pytest.mark.parametrize(
    ("labels", "measured"),
    [
        ({**GPU, **POD}, Subject("GPU-1", ("n", "p"))),
        # An instance of a MIG GPU has its parent's UUID.
        ({**GPU, **POD, "GPU_I_ID": "7"}, Subject("GPU-1/7", ("n", "p"), whole="GPU-1")),
        ({**GPU, **POD, "GPU_I_ID": ""}, Subject("GPU-1", ("n", "p"))),
        # --use-old-namespace.
        (
            {"gpu": "0", "uuid": "GPU-1", "pod_namespace": "n", "pod_name": "p"},
            Subject("GPU-1", ("n", "p")),
        ),
        # The pod's own labels, with the names of the exporter's old ones.
        (
            {**GPU, **POD, "uuid": "x", "pod_namespace": "y", "pod_name": "z"},
            Subject("GPU-1", ("n", "p")),
        ),
        ({**GPU, "pod_namespace": "y", "pod_name": "z"}, Subject("GPU-1", None)),
        # And the reverse: the pod's own labels, with the names of the new ones.
        ({**OLD, "UUID": "x1"}, Subject("GPU-1", ("n", "p"))),
        ({**OLD, "UUID": "x1", "namespace": "y", "pod": "z"}, Subject("GPU-1", ("n", "p"))),
        ({**OLD, "UUID": "GPU-x"}, Subject("GPU-1", ("n", "p"))),
        ({"gpu": "0", "uuid": "GPU-1", "UUID": "x1"}, Subject("GPU-1", None)),
        # An instance, a compute instance in it, and a share.
        (
            {**GPU, **POD, "GPU_I_ID": "7", "GPU_I_PROFILE": "1g.10gb", "GPU_CI_ID": "0"},
            Subject(
                "GPU-1/7",
                ("n", "p"),
                part="0",
                is_instance=True,
                unit=("0",),
                whole="GPU-1",
            ),
        ),
        ({**GPU, **POD, "GPU_CI_ID": None}, None),
        ({**GPU, **POD, "vgpu": "3"}, Subject("GPU-1", ("n", "p"), is_share=True, unit=("3",))),
        # Idle, or an exporter that does not ask the kubelet.
        (GPU, Subject("GPU-1", None)),
        ({**GPU, "namespace": "", "pod": ""}, Subject("GPU-1", None)),
        ({**GPU, "pod": "p"}, Subject("GPU-1", None)),
        ({**GPU, "namespace": "n"}, Subject("GPU-1", None)),
        # Only Prometheus renames labels; an exporter does not.
        ({**GPU, "exported_namespace": "n", "exported_pod": "p"}, Subject("GPU-1", None)),
        # A label of the pod with the same name as one of the exporter's.
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
    """GPU and pod are identified exactly, or not at all."""
    assert subject(labels) == measured


AMD = {"gpu_id": "3", "gpu_partition_id": "1", "gpu_compute_partition_type": "cpx"}


@pytest.mark.parametrize(
    ("labels", "measured"),
    [
        ({**AMD, **POD, "serial_number": ""}, Subject("3/1", ("n", "p"), whole="3")),
        (
            {**AMD, "namespace": "", "pod": "", "hostname": "h"},
            Subject("3/1", None, "h", whole="3"),
        ),
        ({**AMD, "gpu_partition_id": None, **POD}, None),
        ({"gpu_id": "3", **POD}, None),
        # Another exporter's rows with labels of the same name.
        ({**GPU, **AMD, **POD}, Subject("GPU-1", ("n", "p"))),
    ],
)
def test_amds_rows(labels: Mapping[str, str | None], measured: Subject | None) -> None:
    """A GPU is identified by its place on the node: serial numbers can be missing."""
    assert subject(labels) == measured


@pytest.mark.parametrize(
    ("labels", "host"),
    [
        ({"Hostname": "a"}, "a"),
        ({"hostname": "a"}, "a"),
        # The pod's own label, with the other one's name.
        ({"Hostname": "a", "hostname": "b"}, "a"),
        ({"Hostname": "", "hostname": "b"}, "b"),
        ({"Hostname": None}, ""),
        ({}, ""),
    ],
)
def test_the_node_that_a_row_names(labels: Mapping[str, str | None], host: str) -> None:
    """Either label names the node; a row without one is still read."""
    assert subject({**GPU, **POD, **labels}) == Subject("GPU-1", ("n", "p"), host)


@pytest.mark.parametrize(
    ("labels", "measured"),
    [
        (
            {"deviceuuid": "GPU-1", "podnamespace": "n", "podname": "p", "vdeviceid": "0"},
            Subject("GPU-1", ("n", "p"), is_share=True, unit=("0",)),
        ),
        ({"deviceuuid": "GPU-1", "deviceidx": "0", "zone": "vGPU"}, Subject("GPU-1", None)),
        (
            {"accelerator_id": "GPU-1", "make": "nvidia", "model": "l4", **POD},
            Subject("GPU-1", ("n", "p")),
        ),
        (
            {"accelerator_id": "41-0", "model": "tpu-v6e", "tpu_topology": "2x2", **POD},
            Subject("41-0", ("n", "p")),
        ),
        ({"accelerator_id": "GPU-1", "model": "l4", **POD}, None),
        (
            {"id": "3", "vdie_id": "A-B", "namespace": "n", "pod_name": "p", "model_name": "m"},
            Subject("3/A-B", ("n", "p"), whole="3"),
        ),
        ({"id": "3", "namespace": "n", "pod_name": "p"}, None),
    ],
)
def test_other_exporters(labels: Mapping[str, str | None], measured: Subject | None) -> None:
    """The labels identify HAMi's monitor, GKE's device plugins and Huawei's npu-exporter."""
    assert subject(labels) == measured


def test_another_exporter_is_more_data() -> None:
    """An exporter that identifies a GPU by its place on the node needs only a dialect, no code."""
    other = Dialect(name="other", marks=("slot",), gpu=("slot", "tile"))
    row = {"slot": "3", "tile": "0", **POD}
    assert subject(row) is None
    assert subject(row, (*DIALECTS, other)) == Subject("3/0", ("n", "p"), whole="3")
    assert subject({**GPU, **POD}, (*DIALECTS, other)) == Subject("GPU-1", ("n", "p"))
