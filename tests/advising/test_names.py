import pytest

from metrics_server.advising.names import MetricNames
from metrics_server.errors import CounterAskedError
from metrics_server.rules.lookup import Rules
from tests.advising.manifests import RULES, rule

NAMES = MetricNames(RULES)


def test_every_metric_is_found() -> None:
    """In any case, and with its sum."""
    for name in (*RULES.known(), *RULES.gauges()):
        for spelled in (name, name.upper()):
            assert NAMES.may_be_meant(spelled), spelled
            assert NAMES.find(spelled) is RULES.find(name), spelled


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("gpu_utilisation", "gpu_utilization"),
        ("GPU-Utilization", "gpu_utilization"),
        ("gpu_memory_usage", "gpu_memory_used"),
        ("DCGM_FI_DEV_GPU_UTIL_AVG", "DCGM_FI_DEV_GPU_UTIL"),
        ("dcgm_fi_prof_sm_activ", "DCGM_FI_PROF_SM_ACTIVE"),
    ],
)
def test_misspelled_names_lead_to_ours(name: str, nearest: str) -> None:
    """In the exporter's spelling."""
    assert NAMES.may_be_meant(name)
    assert NAMES.nearest(name)[0] == nearest
    assert NAMES.find(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "cpu_utilization",
        "memory_utilization",
        "http_requests",
        "gpu_requests",
        "gpu_queue_length",
        "gpu_jobs",
        "vllm:gpu_cache_usage_perc",
        "s0-prometheus-DCGM_FI_DEV_GPU_UTIL",
        "datadogmetric@default:gpu_utilization",
        "kubernetes.io|container|accelerator|duty_cycle",
        "",
        "_gpu_utilization",
        "gpu_utilization" * 100,
    ],
)
def test_names_of_others_are_not_near(name: str) -> None:
    """A working HPA gets no warning."""
    assert NAMES.nearest(name) == ()
    assert NAMES.find(name) is None


def test_counters_are_known_unless_a_gauge_has_the_name() -> None:
    """As for a request."""
    with pytest.raises(CounterAskedError):
        NAMES.find("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION")
    assert MetricNames(Rules(RULES)).find("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION") is None


def test_a_users_own_rules_are_ours() -> None:
    """Including the words in their names."""
    names = MetricNames(rule(name="fleet_load"))
    assert names.may_be_meant("fleet_loads")
    assert names.nearest("fleet_loads") == ("fleet_load",)
    assert not NAMES.may_be_meant("fleet_loads")
