"""Requests arrive, wait and are answered: none is lost, and engines have limited speed."""

from hypothesis import given
from hypothesis import strategies as st

from metrics_server.simulator.engines.traffic import (
    BATCH,
    Arrivals,
    Engine,
    Traffic,
)

STEADY = Arrivals(peak=10, busy=1e9, quiet=1)
WAVES = Arrivals(peak=12, busy=20, quiet=30)


def test_requests_grow_to_a_peak_and_cease() -> None:
    """They grow in the first quarter of the busy time; after the quiet time it starts again."""
    assert [WAVES.rate(t) for t in (0, 2.5, 5, 19.9, 20, 49.9, 52.5)] == [0, 6, 12, 12, 0, 0, 6]


def test_an_engine_works_on_a_batch() -> None:
    """Requests beyond the batch wait, and a batch takes time."""
    engine = Engine(requests=BATCH + 5)
    assert (engine.running, engine.waiting) == (BATCH, 5)
    engine.serve(1 / 2)
    assert (engine.finished, engine.running, engine.waiting) == (BATCH // 2, BATCH, 1)


def test_an_idle_engine_does_no_work_in_advance() -> None:
    """Time without requests is lost."""
    engine = Engine(requests=1)
    engine.serve(100)
    assert (engine.requests, engine.finished) == (0, 1)
    engine.requests = 1
    engine.serve(1 / 2)
    assert engine.requests == 1


def test_the_gateway_holds_requests_only_while_no_pod_is_ready() -> None:
    """They go to the pods with the fewest, as soon as there are any."""
    traffic = Traffic(Arrivals(peak=20, busy=10, quiet=1000), 2)
    traffic.advance(11, [])
    assert (traffic.held, traffic.in_flight, traffic.arrived) == (174, 0, 174)
    traffic.advance(11.001, ["a", "b"])
    assert traffic.held == 0
    assert sorted(engine.requests for engine in traffic.engines.values()) == [87, 87]


def test_requests_of_a_pod_that_goes_are_sent_on_again() -> None:
    """To the remaining ones; without any the gateway holds them."""
    traffic = Traffic(Arrivals(peak=20, busy=10, quiet=1000), 2)
    traffic.advance(11, [])
    traffic.advance(11.001, ["a", "b"])
    traffic.advance(11.002, ["b"])
    assert [engine.requests for engine in traffic.engines.values()] == [174]
    traffic.advance(11.003, [])
    assert (traffic.held, traffic.engines) == (174, {})


@given(
    steps=st.lists(
        st.tuples(st.floats(0.001, 7), st.sets(st.sampled_from("abcdef"))), min_size=1, max_size=20
    ),
    peak=st.floats(0, 100),
)
def test_no_request_is_lost(steps: list[tuple[float, set[str]]], peak: float) -> None:
    """Each arrived request is held, in an engine, or answered."""
    traffic = Traffic(Arrivals(peak=peak, busy=9, quiet=4), 2)
    now, gone = 0.0, 0
    for seconds, ready in steps:
        now += seconds
        leaving = [traffic.engines[name] for name in traffic.engines.keys() - ready]
        gone += sum(engine.finished for engine in leaving)
        traffic.advance(now, sorted(ready))
        finished = gone + sum(engine.finished for engine in traffic.engines.values())
        assert traffic.arrived == traffic.held + traffic.in_flight + finished
        assert not (traffic.held and ready)
        assert set(traffic.engines) == ready
        for engine in traffic.engines.values():
            assert 0 <= engine.running <= BATCH
            assert engine.waiting >= 0


def test_how_often_it_is_advanced_makes_no_difference() -> None:
    """Scrapes at any rate see the same requests, give or take one per engine."""
    often, seldom = Traffic(STEADY, 2), Traffic(STEADY, 2)
    for n in range(1, 101):
        often.advance(n / 5, ["a", "b"])
    seldom.advance(20, ["a", "b"])
    assert abs(often.arrived - seldom.arrived) <= 1
    assert abs(often.in_flight - seldom.in_flight) <= 2
