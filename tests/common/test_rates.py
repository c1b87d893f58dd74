"""How often something may happen, and how often that is logged."""

from hypothesis import given
from hypothesis import strategies as st
from structlog import get_logger
from structlog.testing import capture_logs

from metrics_server.common.rates import Rate, Rates
from metrics_server.telemetry.sparing import SparingLog


@given(
    st.lists(st.tuples(st.floats(0, 3), st.sampled_from("abc")), max_size=200),
    st.floats(0.1, 5),
    st.floats(1, 10),
)
def test_no_more_than_the_rate_and_the_burst(
    steps: list[tuple[float, str]], per_second: float, burst: float
) -> None:
    """Whatever the pattern of calls, no period has more, for each and in total."""
    now = 0.0
    each = Rate(per_second / 2, burst / 2 + 1)
    total = Rate(per_second, burst)
    rates = Rates(each=each, total=total, clock=lambda: now)
    allowed: list[tuple[float, str]] = []
    for wait, peer in steps:
        now += wait
        if rates.allow(peer):
            allowed.append((now, peer))
    for first, (start, _) in enumerate(allowed):
        for last in range(first, len(allowed)):
            span = allowed[last][0] - start
            count = last - first + 1
            assert count <= total.burst + span * total.per_second + 1e-6
            for peer in "abc":
                of_peer = [one for one in allowed[first : last + 1] if one[1] == peer]
                assert len(of_peer) <= each.burst + span * each.per_second + 1e-6


def test_a_quiet_peer_is_allowed_while_a_loud_one_is_not() -> None:
    """Calls refused to one peer do not count against the others."""
    rates = Rates(each=Rate(1, 2), total=Rate(1, 4), clock=lambda: 0)
    assert [rates.allow("loud") for _ in range(100)] == [True, True] + [False] * 98
    assert rates.allow("quiet")


def test_what_is_left_out_of_a_log_is_counted() -> None:
    """A flood is logged in a few lines, and the next one says how many were left out."""
    now = 0.0
    log = SparingLog(get_logger(), clock=lambda: now)
    with capture_logs() as lines:
        for _ in range(1000):
            log.info("token rejected", peer="10.0.0.1")
        assert len(lines) == 10
        for n in range(1000):
            log.info("token rejected", peer=f"10.0.1.{n}", error="x" * 10_000)
        assert len(lines) == 60
        now = 60.0
        log.warning("token rejected", peer="10.0.0.1")
    assert lines[10]["left_out"] == 990
    assert lines[-1]["left_out"] == 950
    assert max(len(str(line)) for line in lines) < 500


def test_a_spared_log_line_is_one_printable_line() -> None:
    """Text from a caller is escaped and cut before it is logged."""
    with capture_logs() as logs:
        SparingLog(get_logger()).info("seen", peer="a", text="\x1b[2J\n" * 1000)
    assert logs[0]["text"].isprintable()
    assert len(logs[0]["text"]) <= 256
