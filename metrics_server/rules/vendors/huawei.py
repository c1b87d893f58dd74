"""Huawei Ascend's npu-exporter."""

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.vendors.vendor import Vendor

HUAWEI = Vendor(
    name="huawei",
    dialects=(
        Dialect(
            name="huawei-npu",
            marks=("id", "vdie_id"),
            gpu=("id", "vdie_id"),
            pod="pod_name",
        ),
    ),
)
