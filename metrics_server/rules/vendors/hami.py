"""Project-HAMi/HAMi: its vGPU monitor, which has a row for each device of a container."""

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.vendors.vendor import Vendor

HAMI = Vendor(
    name="hami",
    dialects=(
        Dialect(
            name="hami",
            marks=("deviceuuid",),
            gpu=("deviceuuid",),
            namespace="podnamespace",
            pod="podname",
            units=("vdeviceid",),
            share="vdeviceid",
        ),
    ),
)
