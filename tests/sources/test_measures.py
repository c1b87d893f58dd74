"""Values on pages with shared, partitioned and prefixed GPUs, and rejected values."""

import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_server.rules.model import Reading
from metrics_server.sources.exporters.pod_mapper import attribute
from metrics_server.sources.exporters.sheet import Sheet

USED, B = Reading("USED", 0, 100), Reading("B", 0, 100)
SHARE = Reading("USED", 0, 100, scale=100, divided_by=("USED", "FREE"))
DEVICE = '{gpu="0",UUID="G"}'
P, Q = (f'{{gpu="0",UUID="G",namespace="n",pod="{pod}"}}' for pod in "pq")


def values(page: str, *readings: Reading) -> dict[str, float]:
    """The value of each pod's only GPU."""
    by_pod = attribute(Sheet(page.encode()), readings).by_pod
    return {pod: value for (_, pod), gpus in by_pod.items() for value in gpus.values()}


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        # Pod rows that are all 0 beside a busy device mean nothing.
        (f"USED{DEVICE} 80\nUSED{P} 0\nUSED{Q} 0\n", {"p": 80, "q": 80}),
        (f"USED{DEVICE} 80\nUSED{P} 0\n", {"p": 80}),
        (f"USED{DEVICE} 80\nUSED{P} 0\nUSED{Q} -0.0\n", {"p": 80, "q": 80}),
        # One that is not 0 shows that the others are real.
        (f"USED{DEVICE} 80\nUSED{P} 0\nUSED{Q} 1\n", {"p": 0, "q": 1}),
        (f"USED{DEVICE} 80\nUSED{P} 0\nUSED{Q} 1\nUSED{Q} 2\n", {"p": 0}),
        # The device is idle, or has no row.
        (f"USED{DEVICE} 0\nUSED{P} 0\nUSED{Q} 0\n", {"p": 0, "q": 0}),
        (f"USED{P} 0\nUSED{Q} 0\n", {"p": 0, "q": 0}),
        # The device's value is unknown, so it is unknown whether the zeros are real.
        (f"USED{DEVICE} NaN\nUSED{P} 0\nUSED{Q} 0\n", {}),
        (f"USED{DEVICE} 80\nUSED{DEVICE} 70\nUSED{P} 0\n", {}),
        # The same holds if a pod's own row is invalid, or is missing only from this family: it
        # may be the one that is busy.
        (f"USED{DEVICE} 80\nUSED{P} 0\nUSED{Q} 2619\n", {}),
        (f"USED{DEVICE} 80\nUSED{P} 0\nFREE{Q} 1\n", {}),
        # The device's row belongs to no pod.
        (f"USED{DEVICE} 80\n", {}),
    ],
)
def test_a_device_beside_its_pods(page: str, expected: dict[str, float]) -> None:
    """The device's value is a pod's only if the pods' rows are blind."""
    assert values(page, USED) == expected


def test_zeros_that_are_unknown_leave_it_to_the_next_reading() -> None:
    """If the device's row is a sentinel, a later family may have the value."""
    page = f"USED{DEVICE} 2619\nUSED{P} 0\nB{P} 0.9\n"
    assert values(page, USED, Reading("B", 0, 1.01, scale=100)) == {"p": 90}


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (f"USED{P} 30\nFREE{P} 10\n", {"p": 75}),
        (f"FREE{P} 10\nUSED{P} 30\n", {"p": 75}),
        (f"USED{P} 30\n", {}),
        (f"FREE{P} 30\n", {}),
        (f"USED{P} 30\nFREE{P} 101\n", {}),
        (f"USED{P} 30\nFREE{P} 10\nFREE{P} 20\n", {}),
        (f"USED{P} 0\nFREE{P} 0\n", {}),
        (f"USED{P} 0\nFREE{P} 10\n", {"p": 0}),
        # Each pod's share of the device, whether or not the device reports its own free memory.
        (f"USED{DEVICE} 60\nUSED{P} 20\nUSED{Q} 40\nFREE{P} 20\nFREE{Q} 20\n", {"p": 25, "q": 50}),
        (f"USED{DEVICE} 60\nUSED{P} 20\nUSED{Q} 40\nFREE{DEVICE} 20\n", {"p": 25, "q": 50}),
        # Blind zeros: the device's share.
        (f"USED{DEVICE} 60\nUSED{P} 0\nUSED{Q} 0\nFREE{P} 20\nFREE{Q} 20\n", {"p": 75, "q": 75}),
        # A pod with more than there is.
        (f"USED{DEVICE} 5\nUSED{P} 40\nFREE{DEVICE} 20\n", {}),
        # The device's use is unknown, and so is any pod's share of it.
        (f"USED{DEVICE} 2619\nUSED{P} 20\nFREE{P} 20\n", {}),
    ],
)
def test_a_share(page: str, expected: dict[str, float]) -> None:
    """A ratio to a sum needs every part of the sum, and takes no share of a share."""
    assert values(page, SHARE) == expected


def amd(more: str = "", pod: str = "p", gpu: int = 0, partition: int = 0) -> str:
    """The labels of a row from AMD's exporter."""
    where = f'gpu_compute_partition_type="cpx",gpu_id="{gpu}",gpu_partition_id="{partition}"'
    return f'{{{where},namespace="n",pod="{pod}"{more}}}'


BUSY = Reading("gpu_gfx_busy_instantaneous", 0, 100, each=("xcc_index",))
CLOCK = Reading("gpu_clock", 1, 9999, where=(("clock_type", "system"),), each=("clock_index",))
WHOLE = Reading("gpu_gfx_activity", 0, 100, where=(("gpu_partition_id", "0"),))


@pytest.mark.parametrize(
    ("readings", "rows", "value"),
    [
        # The mean of the parts.
        ((BUSY,), [(BUSY, amd(f',xcc_index="{i}"'), i * 10) for i in range(5)], 20),
        ((BUSY,), [(BUSY, amd(',xcc_index="0"'), 10), (BUSY, amd(',xcc_index="1"'), 101)], None),
        ((BUSY,), [(BUSY, amd(',xcc_index="0"'), 10), (BUSY, amd(',xcc_index="0"'), 20)], None),
        ((BUSY,), [(BUSY, amd(',xcc_index="0"'), 10), (BUSY, amd(',xcc_index="0"'), 10)], 10),
        ((BUSY,), [(BUSY, amd(), 30)], 30),
        ((BUSY,), [(BUSY, amd(',xcc_index="0",xcc_index="1"'), 30)], None),
        # Only the selected rows.
        (
            (CLOCK,),
            [
                (CLOCK, amd(',clock_type="system",clock_index="0"'), 2000),
                (CLOCK, amd(',clock_type="system",clock_index="1"'), 1000),
                (CLOCK, amd(',clock_type="memory",clock_index="2"'), 900),
                (CLOCK, amd(',clock_type="video",clock_index="3"'), 0),
                (CLOCK, amd(), 1),
            ],
            1500,
        ),
        # On a partition that does not report it, 0 is written for unknown.
        ((WHOLE,), [(WHOLE, amd(partition=1), 0)], None),
        (
            (WHOLE, BUSY),
            [(WHOLE, amd(partition=1), 0), (BUSY, amd(',xcc_index="0"', partition=1), 44)],
            44,
        ),
        ((WHOLE, BUSY), [(WHOLE, amd(), 7), (BUSY, amd(',xcc_index="0"'), 44)], 7),
    ],
)
def test_parts_and_conditions(
    readings: tuple[Reading, ...], rows: list[tuple[Reading, str, float]], value: float | None
) -> None:
    """A GPU's value covers all of its parts, and only the reading's rows."""
    page = "".join(f"{reading.family}{labels} {number}\n" for reading, labels, number in rows)
    assert values(page, *readings) == ({} if value is None else {"p": value})


@pytest.mark.parametrize(
    ("page", "value"),
    [
        (f"gpu_gfx_activity{amd()} 5\n", 5),
        (f"amd_gpu_gfx_activity{amd()} 5\n", 5),
        (f"a:b_gpu_gfx_activity{amd()} 5\n", 5),
        # No prefix takes precedence over one.
        (f"x_gpu_gfx_activity{amd()} 6\ngpu_gfx_activity{amd()} 5\n", 5),
        # With two, neither counts.
        (f"x_gpu_gfx_activity{amd()} 6\ny_gpu_gfx_activity{amd()} 5\n", None),
        # Rows without a GPU do not show a prefix.
        (f'x_gpu_gfx_activity{{gpu_id="0"}} 6\ny_gpu_gfx_activity{amd()} 5\n', 5),
        (f"x_gpu_gfx_activity 6\ny_gpu_gfx_activity{amd()} 5\n", 5),
        # Another marker shows the page's prefix, which all its families have.
        (f"y_gpu_used_vram{amd()} 6\nx_gpu_gfx_activity 5\n", None),
        (f"gpu_used_vram{amd()} 6\nx_gpu_clock{amd()} 5\n", None),
        (f"# TYPE x_gpu_gfx_activity gauge\ny_gpu_gfx_activity{amd()} 5\n", 5),
    ],
)
def test_a_prefix_of_all_families(page: str, value: float | None) -> None:
    """The prefix is the text before a known family, on rows of a GPU."""
    for text in (page, "".join(sorted(page.splitlines(keepends=True), reverse=True))):
        assert values(text, WHOLE) == ({} if value is None else {"p": value})


def test_a_prefix_of_dcgms_families_is_none() -> None:
    """Only AMD's exporter lets its user choose a prefix."""
    page = f"x_DCGM_FI_DEV_GPU_UTIL{P} 5\n"
    assert values(page, Reading("DCGM_FI_DEV_GPU_UTIL", 0, 100)) == {}


def test_company() -> None:
    """Attribution has the pods that share a GPU, the nodes, and the values left out."""
    other = '{gpu="1",UUID="H",namespace="n",pod="q",Hostname="h"}'
    twice = '{gpu="2",UUID="I",namespace="n",pod="r",pod="s"}'
    page = f"USED{P} 5\nUSED{Q} 101\nUSED{other} 7\nUSED{twice} 9\n"
    page += 'USED{gpu="3",UUID="J"} 1\n'
    p, q = ("n", "p"), ("n", "q")
    attribution = attribute(Sheet(page.encode()), (USED,))
    assert attribution.by_pod == {p: {"G": 5}, q: {"H": 7}}
    together = frozenset({frozenset({p, q})})
    assert attribution.shared == {p: together, q: together}
    assert attribution.incomplete == {q: {"G"}}
    assert attribution.hosts == {"h"}
    assert (attribution.unattributed, attribution.ambiguous, attribution.rejected) == (1, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "labels",
    [
        'gpu="0",UUID="G",namespace="n",pod="{}"',
        'gpu="0",UUID="{}",namespace="n",pod="p"',
        'gpu="0",UUID="{}"',
        'gpu="0",UUID="{}",Hostname="{}",namespace="n",pod="p",pod="{}"',
        'gpu="0",UUID="G",namespace="n",pod="p",l="{}"',
    ],
)
@pytest.mark.parametrize("value", ["5", "NaN"])
def test_time_is_linear_in_the_rows(labels: str, value: str) -> None:
    """A GPU with many pods, or a pod with many GPUs, takes no longer than that many rows."""
    rows = [f"USED{{{labels.replace('{}', str(i))}}} {value}\n" for i in range(5_000)]

    def seconds(count: int) -> float:
        began = time.process_time()
        attribute(Sheet("".join(rows[:count]).encode()), (USED, SHARE, B))
        return time.process_time() - began

    # Linear is 10 times as long, and quadratic 100 times; the margin is for garbage collection.
    assert seconds(5_000) < 40 * min(seconds(500) for _ in range(3))


ROWS = st.tuples(
    st.sampled_from(["USED", "FREE", "B"]),
    st.sampled_from([DEVICE, P, Q]),
    st.sampled_from([0, 20, 40, 2619, float("nan")]),
)


@settings(deadline=None)
@given(st.lists(ROWS, max_size=12), st.randoms(use_true_random=False))
def test_whatever_rows_there_are(samples: list[tuple[str, str, float]], random: Random) -> None:
    """In any order, with or without a device's row, there is one value, and it is in range."""
    lines = [f"{family}{labels} {value}\n" for family, labels, value in samples]
    for reading in (USED, SHARE):
        whole = attribute(Sheet("".join(lines).encode()), (reading, B))
        random.shuffle(lines)
        assert attribute(Sheet("".join(lines).encode()), (reading, B)) == whole
        for gpus in whole.by_pod.values():
            assert gpus.keys() == {"G"}
            assert 0 <= gpus["G"] <= 100
