"""The load is a function of a seed and the time, and determines the GPUs."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from metrics_server.simulator.gpus.workload import (
    A100,
    IDLE_MEMORY_MIB,
    Load,
    SimulatedPod,
    gpu_states,
)

STEADY = Load(base=100, amplitude=0, noise=0)


def pod(name: str, *gpus: str, ready: bool = True) -> SimulatedPod:
    """A pod with these GPUs."""
    return SimulatedPod("default", name, "server", "node-1", gpus, ready)


def test_the_same_seed_and_time_give_the_same_load() -> None:
    """A run can be repeated; another seed gives another load."""
    times = [0.0, 1.0, 1.5, 1000.0]
    first = [Load(seed=7).demand(t) for t in times]
    assert first == [Load(seed=7).demand(t) for t in times]
    assert first != [Load(seed=8).demand(t) for t in times]
    pods = [pod("a", "GPU-0")]
    states = gpu_states(Load(seed=7), A100, ["GPU-0"], pods, 3.2)
    assert states == gpu_states(Load(seed=7), A100, ["GPU-0"], pods, 3.2)


def test_the_demand_swings_and_steps() -> None:
    """The sine peaks at a quarter of its period; the step lasts from its start to its end."""
    load = Load(base=100, amplitude=50, period=40, noise=0, step=200, step_start=60, step_end=80)
    assert [round(load.demand(t)) for t in (0, 10, 30)] == [100, 150, 50]
    assert [round(load.demand(t)) for t in (59.9, 60, 79.9, 80)] == [101, 300, 299, 100]


def test_the_demand_is_never_negative() -> None:
    """A swing below zero is zero demand."""
    assert Load(base=10, amplitude=100, period=40, noise=0).demand(30) == 0


def test_the_demand_is_spread_over_the_ready_pods() -> None:
    """Two ready pods with one GPU carry half each; one that is loading carries nothing."""
    pods = [pod("a", "GPU-0"), pod("b", "GPU-1"), pod("c", "GPU-2", ready=False)]
    states = gpu_states(STEADY, A100, ["GPU-0", "GPU-1", "GPU-2", "GPU-3"], pods, 0)
    assert [state.utilization for state in states.values()] == [50, 50, 0, 0]


def test_a_pods_share_is_spread_over_its_gpus() -> None:
    """A pod with two GPUs gets as much work as one with one, on twice the GPUs."""
    states = gpu_states(STEADY, A100, ["0", "1", "2"], [pod("a", "0", "1"), pod("b", "2")], 0)
    assert [state.utilization for state in states.values()] == [25, 25, 50]


def test_pods_on_other_nodes_take_their_share() -> None:
    """Only the requested GPUs are reported, but all pods share the demand."""
    states = gpu_states(STEADY, A100, ["0"], [pod("a", "0"), pod("b", "1")], 0)
    assert {uuid: state.utilization for uuid, state in states.items()} == {"0": 50}


def test_more_replicas_relieve_the_gpus() -> None:
    """Overload is 100 % until there are enough pods."""
    load = structs.replace(STEADY, base=240)
    utilization = []
    for count in (1, 2, 3, 4):
        gpus = [f"GPU-{i}" for i in range(count)]
        states = gpu_states(load, A100, gpus, [pod(g, g) for g in gpus], 0)
        utilization.append(states["GPU-0"].utilization)
    assert utilization == [100, 100, 80, 60]


def test_no_ready_pod_means_no_work() -> None:
    """Pods that do not serve get none of the demand."""
    states = gpu_states(STEADY, A100, ["GPU-0"], [pod("a", "GPU-0", ready=False)], 0)
    assert states["GPU-0"].utilization == 0
    assert states["GPU-0"].memory_used > IDLE_MEMORY_MIB, "it is loading its model"


@given(
    seed=st.integers(0, 1000),
    base=st.floats(0, 1000),
    time=st.floats(0, 10_000),
    ready=st.booleans(),
)
def test_every_value_is_one_that_a_gpu_can_have(
    seed: int, base: float, time: float, *, ready: bool
) -> None:
    """Percentages, ratios, memory, power and temperature stay within their ranges."""
    load = Load(seed=seed, base=base, noise=30)
    pods = [pod("a", "GPU-0", ready=ready)]
    for state in gpu_states(load, A100, ["GPU-0", "GPU-1"], pods, time).values():
        assert 0 <= state.utilization <= 100
        assert 0 <= state.memory_copy_utilization <= 100
        assert 0 <= state.graphics_engine_active <= 1
        assert abs(state.graphics_engine_active * 100 - state.utilization) <= 3
        assert state.memory_used >= IDLE_MEMORY_MIB
        assert state.memory_used + state.memory_free == A100.memory
        assert A100.power[0] <= state.power_usage <= A100.power[1] * 1.03
        assert A100.temperature[0] <= state.temperature <= A100.temperature[1] + 2
        assert state.sm_clock == A100.sm_clock[state.utilization > 0]


def test_a_busy_gpu_draws_more_and_is_warmer() -> None:
    """The other fields follow utilization."""
    pods = [pod("a", "busy")]
    states = gpu_states(STEADY, A100, ["busy", "idle"], pods, 0)
    busy, idle = states["busy"], states["idle"]
    assert busy.utilization == 100
    assert busy.power_usage > 5 * idle.power_usage
    assert busy.temperature > idle.temperature + 30
    assert busy.memory_used > idle.memory_used
    assert busy.sm_clock > idle.sm_clock
    assert idle.memory_used == IDLE_MEMORY_MIB
