"""Values that are accepted, rejected, or in conflict."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_server.rules.model import Reading
from metrics_server.sources.exporters.pod_mapper import Attribution, attribute
from metrics_server.sources.exporters.sheet import Sheet
from tests.support.attribution import flat

FIRST, SECOND = Reading("A", 0, 100), Reading("B", 0, 1.01, scale=100)
BUSY = '{gpu="0",UUID="GPU-0",namespace="n",pod="p"}'


@pytest.mark.parametrize(
    ("page", "value", "rejected", "conflicting"),
    [
        (f"A{BUSY} 50\nB{BUSY} 0.9\n", 50, 0, 0),
        (f"B{BUSY} 0.9\nA{BUSY} 50\n", 50, 0, 0),
        (f"A{BUSY} 0\nB{BUSY} 0.9\n", 0, 0, 0),  # 0 is a value
        (f"A{BUSY} 101\nB{BUSY} 0.9\n", 90, 1, 0),
        (f"A{BUSY} NaN\nB{BUSY} 1.01\n", 101, 1, 0),
        (f"A{BUSY} -1\nB{BUSY} 1.02\n", None, 2, 0),
        (f"A{BUSY} +Inf\n", None, 1, 0),
        (f"A{BUSY} text\nB{BUSY} 0.9\n", 90, 0, 0),
        (f"A{BUSY} 50\nB{BUSY} NaN\n", 50, 0, 0),  # not read after the first
        (f"A{BUSY} 50\nA{BUSY} 50.0\n", 50, 0, 0),
        (f"A{BUSY} 50\nA{BUSY} 2619\n", 50, 1, 0),
        (f"A{BUSY} 2619\nA{BUSY} 50\n", 50, 1, 0),
        (f"A{BUSY} 50\nA{BUSY} 51\n", None, 0, 1),
        (f"A{BUSY} 50\nA{BUSY} 51\nA{BUSY} 50\nA{BUSY} 52\n", None, 0, 1),
        (f"A{BUSY} 50\nA{BUSY} 51\nB{BUSY} 0.9\n", None, 0, 1),
        (f"A{BUSY} 50\nB{BUSY} 0.9\nB{BUSY} 0.8\n", 50, 0, 0),
    ],
)
def test_a_value_is_accepted_or_missing(
    page: str, value: float | None, rejected: int, conflicting: int
) -> None:
    """A rejected value is missing: it is not zero, a limit or a guess."""
    expected = {} if value is None else {("n", "p"): {"GPU-0": value}}
    assert attribute(Sheet(page.encode()), (FIRST, SECOND)) == Attribution(
        expected,
        rejected=rejected,
        conflicting=conflicting,
        incomplete={("n", "p"): frozenset({"GPU-0"})} if value is None else {},
    )


def test_a_conflict_of_one_pod_does_not_affect_others() -> None:
    """Pods that share a GPU have separate values for it."""
    other = BUSY.replace('pod="p"', 'pod="q"')
    attribution = attribute(Sheet(f"A{BUSY} 50\nA{BUSY} 51\nA{other} 52\n".encode()), (FIRST,))
    assert attribution.by_pod == {("n", "q"): {"GPU-0": 52}}
    assert attribution.conflicting == 1
    assert attribution.incomplete == {("n", "p"): frozenset({"GPU-0"})}


PLACES = st.tuples(st.sampled_from("AB"), st.sampled_from("012"), st.sampled_from(["p", "q"]))
TOLD = st.sampled_from([0, 0.5, 1.01, 50, 100, 2619, float("nan"), 2147483632])


@settings(deadline=None)
@given(st.lists(st.tuples(PLACES, TOLD), max_size=24), st.randoms(use_true_random=False))
def test_every_gpu_of_a_pod_is_attributed_for_itself(
    samples: list[tuple[tuple[str, str, str], float]], random: Random
) -> None:
    """Whatever other rows a page has, a pod's GPU has the value from its own rows."""

    def write(rows: Sequence[tuple[tuple[str, str, str], float]]) -> Sheet:
        page = "".join(
            f'{family}{{gpu="{gpu}",UUID="GPU-{gpu}",namespace="n",pod="{pod}"}} {value}\n'
            for (family, gpu, pod), value in rows
        )
        return Sheet(page.encode())

    whole = attribute(write(samples), (FIRST, SECOND))
    alone: dict[tuple[str, str, str], float] = {}
    for place in {(gpu, pod) for (_, gpu, pod), _ in samples}:
        alone |= flat(
            attribute(write([row for row in samples if row[0][1:] == place]), (FIRST, SECOND))
        )
    assert flat(whole) == alone
    random.shuffle(samples)
    assert attribute(write(samples), (FIRST, SECOND)) == whole
