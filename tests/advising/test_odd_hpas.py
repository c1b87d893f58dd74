"""No HPA makes a check raise."""

from hypothesis import given
from hypothesis import strategies as st

from metrics_server.advising.checks import check
from metrics_server.advising.findings import Setup
from metrics_server.kube.autoscalers import Autoscaler, AutoscalerMetric
from metrics_server.kube.events import MAX_MESSAGE_BYTES
from metrics_server.kube.labels import Operator, Requirement, Selector
from metrics_server.kube.pods import Pod
from tests.advising.manifests import RULES, setup

TEXT = st.text(max_size=300)
OPERATORS: tuple[Operator, ...] = ("=", "!=", "in", "notin", "exists", "!")
WORKLOADS = st.sampled_from(["", "Deployment/a", "Deployment/a-canary", "Job/b-123456", "/", "x"])
LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"))
REQUIREMENTS = st.builds(
    Requirement,
    st.sampled_from(["a", "b", "modelName"]) | TEXT,
    st.sampled_from(OPERATORS),
    st.lists(st.sampled_from("xy") | TEXT, min_size=1, max_size=3).map(tuple),
)
METRICS = st.builds(
    AutoscalerMetric,
    type=st.sampled_from(["External", "Pods", "Object"]),
    name=st.sampled_from([*RULES.known(), "gpu_utilisation", "gpu_energy_consumed"]) | TEXT,
    selector=st.lists(REQUIREMENTS, max_size=3).map(tuple).map(Selector),
    target_type=st.sampled_from(["Value", "AverageValue", "Utilization"]) | TEXT,
    value=st.sampled_from(["", "70", "40", "0", "1e3"]) | TEXT,
    average_value=st.sampled_from(["", "70", "40", "-1"]) | TEXT,
    described=WORKLOADS | TEXT,
    read=st.booleans(),
)
HPAS = st.builds(
    Autoscaler,
    namespace=TEXT,
    name=TEXT,
    uid=TEXT,
    target=WORKLOADS | TEXT,
    min_replicas=st.integers(),
    max_replicas=st.integers(),
    current_replicas=st.integers(-1, 3),
    metrics=st.lists(METRICS, max_size=3).map(tuple),
)
PODS = st.builds(
    Pod,
    namespace=st.just("default"),
    name=TEXT,
    labels=LABELS,
    node=st.just("n"),
    phase=st.sampled_from(["Running", "Pending", "Failed", ""]),
    ready=st.booleans(),
    terminating=st.booleans(),
    gpus=st.integers(0, 2),
    workload=WORKLOADS,
)
SETUPS = st.sampled_from(
    [
        setup(),
        setup(types="External"),
        setup(fallback=("simulated", "error")),
        setup(fallback=("last-known", "simulated")),
    ]
)


@given(HPAS, st.lists(PODS, max_size=5), SETUPS)
def test_no_hpa_makes_the_checks_raise(hpa: Autoscaler, pods: list[Pod], config: Setup) -> None:
    """Findings are single printable lines, and fit in an event."""
    for finding in check(hpa, pods, config):
        assert finding.message.isprintable()
        assert finding.message.endswith(".")
        assert len(finding.message.encode()) <= MAX_MESSAGE_BYTES
        assert finding.metric in finding.message or finding.reason == "MetricIsCounter"
