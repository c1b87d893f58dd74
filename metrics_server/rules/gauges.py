"""Families of exporters that can be asked for by their own names, and those that cannot, as data.

Types are those of NVIDIA/dcgm-exporter (etc/*.csv), NVIDIA/DCGM (dcgm_fields.h) and
ROCm/device-metrics-exporter (docs/configuration/metricslist.md).
"""

from metrics_server.rules.model import Counters, MetricRule
from metrics_server.rules.quantities import QUANTITIES

GAUGES: tuple[MetricRule, ...] = tuple(
    MetricRule(
        name=quantity.family.lower(),
        help=f"{quantity.family}, as the exporter has it",
        unit=quantity.unit,
        readings=quantity.readings,
        maximum=quantity.maximum,
        decimals=quantity.decimals,
    )
    for quantity in QUANTITIES.values()
    # In lower case the profiling ratios of 1.x have the names of the later ones.
    if not quantity.family.startswith("dcgm_fi_prof_")
)
"""A rule for each gauge that is known: averaged, in the unit of the page."""

COUNTERS: tuple[Counters, ...] = (
    Counters(
        "dcgm_fi_dev_total_energy_consumption|dcgm_total_energy_consumption|gpu_energy_consumed"
        "|dcgm_fi_dev_.*_energy_joules_total",
        "gpu_power_usage",
    ),
    Counters(
        "dcgm_fi_dev_nvlink_([rt]x_)?(bandwidth|throughput)_l[0-9]+"
        "|dcgm_fi_dev_nvlink_count_[rt]x_(bytes|packets)|dcgm_fi_dev_nvlink_[rt]x_bytes_total"
        "|gpu_xgmi_link_[rt]x|gpu_xgmi_nbr_[0-9]+_tx_thrput",
        "DCGM_FI_PROF_NVLINK_TX_BYTES or DCGM_FI_PROF_NVLINK_RX_BYTES",
    ),
    Counters(
        "dcgm_fi_prof_pcie_[rt]x_bytes_total|pcie_bidirectional_bandwidth",
        "DCGM_FI_PROF_PCIE_TX_BYTES or DCGM_FI_PROF_PCIE_RX_BYTES",
    ),
    Counters(
        "dcgm_fi_prof_.*_total",
        "a ratio, such as DCGM_FI_PROF_SM_ACTIVE",
    ),
    Counters(
        "dcgm_fi_dev_[a-z_]*_violation|dcgm_[a-z_]*_violation|gpu_violation_[a-z_]*accumulated.*"
        "|dcgm_fi_dev_.*_reason_.*_ns|dcgm_fi_dev_.*_throttle_.*_total"
        "|dcgm_exp_clock_events_total",
        "gpu_sm_clock",
    ),
    # DCGM's canonical names end with _TOTAL if they count. Those of before that end so, and are
    # gauges, are among the gauges above: they are looked up first. CPUs are no GPUs.
    Counters(
        "dcgm_fi_dev_(?!cpu_|.*_(bandwidth|throughput)_total).*_total|dcgm_exp_.*_total"
        "|dcgm_fi_dev_pcie_replay_counter|dcgm_pcie_replay_counter|pcie_[a-z_]*_count"
        "|dcgm_fi_dev_(un)?correctable_remapped_rows"
        "|dcgm_fi_dev_ecc_[sd]be_.*|dcgm_ecc_[sd]be_.*|gpu_ecc_.*"
        "|dcgm_fi_dev_retired_[sd]be|dcgm_retired_pages_[sd]be"
        "|dcgm_fi_dev_nvlink_.*_error_count_.*|dcgm_nvlink_.*_error_count_total"
        "|dcgm_fi_dev_nvlink_count_(?!.*_ber).*|dcgm_fi_dev_nvlink_error_dl_.*"
        "|dcgm_fi_dev_c2c_link_error_.*|dcgm_fi_dev_pcie_count_.*",
        "a gauge, such as gpu_utilization: a count of errors is for an alert",
    ),
)
"""Families that are counters, some of which AMD's exporter gives the type of a gauge."""
