"""Families that only grow are rejected; gauges are not."""

import pytest
from msgspec import structs

from metrics_server.errors import CounterAskedError, UnknownMetricError
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.gauges import COUNTERS, GAUGES
from metrics_server.rules.lookup import Rules
from metrics_server.rules.quantities import quantities
from metrics_server.rules.vendors.registry import VENDORS
from tests.support.families import RULES

KINDS = [kind for vendor in VENDORS for kind in vendor.kinds]

COUNTING = """
    DCGM_EXP_XID_ERRORS_TOTAL DCGM_EXP_CLOCK_EVENTS_TOTAL DCGM_FI_PROF_SM_CYCLES_ACTIVE_TOTAL
    DCGM_FI_PROF_SM_CYCLES_ELAPSED_TOTAL DCGM_FI_PROF_PCIE_TX_BYTES_TOTAL
    DCGM_FI_PROF_FP16_CYCLES_ACTIVE_TOTAL DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_TOTAL
    DCGM_FI_DEV_NVLINK_REPLAY_ERROR_TOTAL DCGM_FI_DEV_NVLINK_CRC_ERROR_TOTAL
    DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_L3_TOTAL DCGM_FI_DEV_NVLINK_RECOVERY_TOTAL
    DCGM_FI_DEV_NVLINK_TX_BYTES_TOTAL DCGM_FI_DEV_NVLINK_COUNT_TX_BYTES
    DCGM_FI_DEV_NVLINK_COUNT_RX_ERRORS DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL
    DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION
    DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP_NS
    DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN_NS
    DCGM_FI_DEV_GPU_POWER_THROTTLE_SECONDS_TOTAL DCGM_FI_DEV_THERMAL_VIOLATION
    DCGM_FI_DEV_TOTAL_APP_CLOCKS_VIOLATION DCGM_FI_DEV_PAGE_RETIRED_SBE_TOTAL
    DCGM_FI_DEV_RETIRED_DBE DCGM_FI_DEV_ROW_REMAP_CORRECTABLE_TOTAL
    DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS DCGM_FI_DEV_ECC_DBE_VOL_TOTAL
    DCGM_FI_DEV_PCIE_REPLAY_TOTAL DCGM_FI_DEV_PCIE_REPLAY_COUNTER
    DCGM_FI_DEV_PCIE_CORRECTABLE_ERROR_TOTAL DCGM_FI_DEV_NVLINK_BANDWIDTH_L0
    dcgm_retired_pages_sbe dcgm_ecc_sbe_volatile_total dcgm_nvlink_replay_error_count_total
    gpu_energy_consumed gpu_ecc_uncorrect_total pcie_replay_count
"""
GAUGING = """
    DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL DCGM_FI_DEV_NVLINK_TX_THROUGHPUT_TOTAL
    DCGM_FI_DEV_RETIRED_PENDING DCGM_FI_DEV_PAGE_RETIRED_PENDING DCGM_EXP_XID_ERRORS_COUNT
    DCGM_EXP_CLOCK_EVENTS_COUNT DCGM_FI_DEV_FB_TOTAL DCGM_FI_DEV_BAR1_TOTAL
    DCGM_FI_PROF_PCIE_TX_BYTES DCGM_FI_DEV_ROW_REMAP_FAILED
"""


@pytest.mark.parametrize("family", COUNTING.split())
def test_what_only_grows_is_refused(family: str) -> None:
    """A counter is rejected by name, in any case, as a sum, and as a family of a rule."""
    for asked in (family, family.lower(), f"{family}_sum"):
        with pytest.raises(CounterAskedError):
            RULES.find(asked)
    with pytest.raises(CounterAskedError):
        Rules((), GAUGES, COUNTERS).refuse_counter(family)


@pytest.mark.parametrize("family", GAUGING.split())
def test_what_also_falls_is_not_refused(family: str) -> None:
    """A name that ends with _TOTAL or _COUNT need not be a counter."""
    assert RULES.find(family).target == "Value"
    assert RULES.find(f"{family}_sum").target == "AverageValue"
    Rules((), GAUGES, COUNTERS).refuse_counter(family)


def test_no_gauge_is_a_counter_too() -> None:
    """Each name has only one meaning, and each kind's base unit has a family."""
    names = [name for kind in KINDS for name in kind.quantities.split()]
    assert len(names) == len(set(names)) == len(quantities(KINDS))
    for kind in KINDS:
        assert kind.base is None or kind.base.suffix in kind.quantities


def test_every_mean_has_its_sum() -> None:
    """NAME_sum has the readings and the unit of NAME, and is for AverageValue."""
    for rule in (*CATALOGUE, *GAUGES):
        if rule.over_pods == "avg":
            total = RULES.find(f"{rule.name}_sum")
            assert (total.over_gpus, total.over_pods) == ("avg", "sum"), rule.name
            assert total.target == "AverageValue", rule.name
            mean = RULES.find(rule.name)
            assert total.readings == mean.readings, rule.name
            assert (total.unit, total.maximum) == (mean.unit, mean.maximum), rule.name


@pytest.mark.parametrize("name", ["gpu_utilization_sum_sum", "gpu_utilization_max_sum", "x_sum"])
def test_what_is_not_a_mean_has_no_sum(name: str) -> None:
    """A sum of sums or extremes would have no meaning."""
    with pytest.raises(UnknownMetricError):
        RULES.find(name)


def test_a_rule_of_the_users_own_has_its_sum() -> None:
    """A mean added by a user has its sum for AverageValue, too, without a second rule."""
    mine = structs.replace(CATALOGUE[0], name="mine")
    assert Rules([mine]).find("mine_sum").target == "AverageValue"
    taken = structs.replace(CATALOGUE[0], name="mine_sum", unit="seconds")
    assert Rules([mine, taken]).find("mine_sum").unit == "seconds"
