"""Pauses between attempts."""

from itertools import cycle

from hypothesis import given
from hypothesis import strategies as st

from metrics_server.common.backoff import Backoff


def test_pauses_double_up_to_the_cap() -> None:
    """Pauses start short again after a success."""
    backoff = Backoff(0.5, 30, rand=lambda: 1.0)
    assert [backoff.pause() for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert backoff.failures == 9
    backoff.reset()
    assert (backoff.failures, backoff.pause()) == (0, 0.5)


def test_each_is_a_random_part_of_it() -> None:
    """Replicas that failed together do not come back together."""
    rand = cycle([0.0, 0.25, 0.5])
    backoff = Backoff(1, 30, rand=lambda: next(rand))
    assert [backoff.pause() for _ in range(3)] == [0, 0.5, 2]


@given(st.integers(0, 3000))
def test_it_can_go_on_for_ever(failures: int) -> None:
    """However long something keeps failing, a pause stays within its cap."""
    backoff = Backoff(0.5, 30)
    backoff.failures = failures
    assert 0 <= backoff.pause() < 30
