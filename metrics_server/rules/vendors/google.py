"""GoogleCloudPlatform/container-engine-accelerators: GKE's device plugins for TPUs and GPUs."""

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.vendors.vendor import Vendor

GOOGLE = Vendor(
    name="google",
    dialects=(
        Dialect(
            name="gke-tpu",
            marks=("accelerator_id", "model", "tpu_topology"),
            gpu=("accelerator_id",),
        ),
        Dialect(
            name="gke-gpu",
            marks=("accelerator_id", "model", "make"),
            gpu=("accelerator_id",),
        ),
    ),
)
