"""The built-in vendors, one on each line."""

from metrics_server.rules.vendors.amd import AMD
from metrics_server.rules.vendors.google import GOOGLE
from metrics_server.rules.vendors.hami import HAMI
from metrics_server.rules.vendors.huawei import HUAWEI
from metrics_server.rules.vendors.nvidia import NVIDIA
from metrics_server.rules.vendors.vendor import Vendor

VENDORS: tuple[Vendor, ...] = (
    NVIDIA,
    AMD,
    HAMI,
    GOOGLE,
    HUAWEI,
)
"""In order of preference, for rows that match the dialects of two vendors."""
