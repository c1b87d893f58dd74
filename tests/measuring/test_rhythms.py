"""When questions will be asked again, and how simultaneous ones are spread over time."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.kube.labels import parse_selector
from metrics_server.measuring.rhythms import Rhythms
from metrics_server.measuring.samples import Question
from metrics_server.measuring.spreading import Due, spread
from tests.support.rhythms import MAX_AGE, PERIOD, hpas, play, regular, seeded

QUESTION = Question("default", "gpu_utilization", parse_selector("app=a"))


def test_a_question_is_prepared_just_before_it_is_due() -> None:
    """The question is prepared from the sixth time on, after four equal intervals, 0.1 s before."""
    outcome = play(regular(10), after=4.5 * PERIOD)
    early = [5 * PERIOD + n * PERIOD - one for n, one in enumerate(outcome.prepared)]
    assert len(early) == 5
    assert all(0 < one <= 0.1 for one in early)
    assert (outcome.cold, outcome.scrapes, outcome.asked) == (0, 5, 5)


def test_a_question_that_is_no_longer_asked_is_not_prepared_again() -> None:
    """Only the one preparation already planned is made."""
    rhythms = Rhythms(MAX_AGE)
    outcome = play(regular(10), until=30 * PERIOD, rhythms=rhythms)
    assert [one for one in outcome.prepared if one > 9 * PERIOD] == outcome.prepared[-1:]
    # If it is asked again at the same interval, its stop is not forgotten at once.
    again = play(regular(19, first=40 * PERIOD), rhythms=rhythms)
    assert not again.prepared
    assert rhythms.unused == 1


def test_several_hpas_with_one_question_are_each_expected() -> None:
    """Their times may be mixed, as long as each keeps its own."""
    starts = [0.0, 4.0, 9.5]
    times = sorted((start + n * PERIOD, 0) for start in starts for n in range(12))
    assert play(times, after=6 * PERIOD).cold == 0


def test_a_question_that_is_asked_at_other_times_is_learned_again() -> None:
    """Each restart of the controller changes all its times."""
    times, now = list[tuple[float, int]](), 0.0
    for restart in range(8):
        times += regular(25, first=now)
        now = times[-1][0] + 7 + restart % 3
    rhythms = Rhythms(MAX_AGE)
    outcome = play(times, after=times[-10][0], rhythms=rhythms)
    assert outcome.cold == 0
    # Each restart costs at most one unused read.
    assert rhythms.unused <= 7


def test_people_in_between_do_not_disturb_an_hpa() -> None:
    """Users are answered as without reading ahead, and the HPA is still expected."""
    people = [(n * PERIOD + 3 + 7 * seeded(n).random(), 0) for n in range(20)]
    times = sorted([*regular(20), *people])
    rhythms = Rhythms(MAX_AGE)
    outcome = play(times, after=8 * PERIOD, rhythms=rhythms)
    assert outcome.cold == len([one for one in people if one[0] >= 8 * PERIOD])
    assert rhythms.unused == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_irregular_callers_cause_no_scrapes(seed: int) -> None:
    """At most one is, as users' times may look like a period by chance."""
    chance = seeded(seed)
    now, times = 0.0, [(0.0, 0)]
    for _ in range(200):
        now += chance.expovariate(1 / 20)
        times.append((now, 0))
    rhythms = Rhythms(MAX_AGE)
    play(times, rhythms=rhythms)
    assert rhythms.unused <= 1


@pytest.mark.slow
def test_a_replica_that_gets_half_of_the_questions_does_not_scrape_for_the_other_half() -> None:
    """Each question goes to either replica by chance, so none can be expected here."""
    chance = seeded(1)
    times = [one for one in regular(2000) if chance.random() < 0.5]
    without, ahead = play(times, is_ahead=False), play(times)
    assert ahead.scrapes <= 1.03 * without.scrapes


@pytest.mark.parametrize("period", [0.3, 1, 1.3, 1.9, 1.97, 2.05, 2.5, 3.9, 4.1, 5])
def test_frequent_questions_get_no_more_scrapes(period: float) -> None:
    """Frequent questions share scrapes with each other, whether they are expected or not."""
    chance = seeded(1)
    times = [(now + chance.uniform(0, 0.02), 0) for now, _ in regular(500, period=period)]
    without, ahead = play(times, is_ahead=False), play(times)
    assert ahead.scrapes <= without.scrapes + len(times) / 100


@pytest.mark.parametrize("hpa_count", [1, 30, 300])
def test_a_burst_of_hpas_needs_no_more_scrapes(hpa_count: int) -> None:
    """Simultaneous questions share pages, all of which are fresh when due."""
    nodes = [[(3 * n + m) % (hpa_count + 2) for m in range(3)] for n in range(hpa_count)]
    times = hpas([n * 0.4 / hpa_count for n in range(hpa_count)], 15 * PERIOD, jitter=0.005)
    after = 7.5 * PERIOD
    without = play(times, is_ahead=False, nodes=nodes, after=after)
    ahead = play(times, nodes=nodes, after=after)
    assert ahead.scrapes == without.scrapes
    assert (without.cold > 0, ahead.cold) == (True, 0)
    assert ahead.oldest < 1.0


@pytest.mark.parametrize("number", [5, 9], ids=["the first", "a later one"])
def test_a_burst_of_hpas_causes_no_burst_of_scrapes(number: int) -> None:
    """Their scrapes are spread over the second before, even if nothing was read ahead yet."""
    nodes = [range(6 * n, 6 * n + 6) for n in range(300)]
    times = hpas([n / 6000 for n in range(300)], number * PERIOD + 1, jitter=0)
    after = (number - 0.5) * PERIOD
    without = play(times, is_ahead=False, nodes=nodes, after=after)
    ahead = play(times, nodes=nodes, after=after)
    assert without.most_scrapes_within(0.1) == without.scrapes == ahead.scrapes == 1800
    assert ahead.most_scrapes_within(0.1) <= ahead.scrapes / 5
    assert ahead.cold == 0
    assert ahead.oldest < 1.05


@pytest.mark.slow
@given(starts=st.lists(st.floats(0, PERIOD), min_size=1, max_size=12), seed=st.integers(0, 1000))
def test_hpas_on_nodes_of_their_own_need_no_more_scrapes(starts: list[float], seed: int) -> None:
    """HPAs on separate nodes need no more scrapes, whenever they ask."""
    nodes = [[number] for number in range(len(starts))]
    times = hpas(starts, 20 * PERIOD, seed)
    without = play(times, is_ahead=False, nodes=nodes)
    ahead = play(times, nodes=nodes)
    assert ahead.scrapes <= without.scrapes + len(starts)
    assert ahead.cold <= 6 * len(starts)


@pytest.mark.slow
def test_hpas_that_share_nodes_at_various_times_need_hardly_more_scrapes() -> None:
    """A page read a little before the first question also expires that much earlier."""
    chance = seeded(1)
    nodes = [chance.sample(range(40), 2) for _ in range(80)]
    times = hpas([chance.uniform(0, PERIOD) for _ in nodes], 60 * PERIOD)
    after = 8 * PERIOD
    without = play(times, is_ahead=False, nodes=nodes, after=after)
    ahead = play(times, nodes=nodes, after=after)
    assert ahead.scrapes <= 1.03 * without.scrapes
    assert (without.cold > 0.8 * without.asked, ahead.cold < 0.01 * ahead.asked) == (True, True)


@given(gaps=st.lists(st.floats(0.01, 40), max_size=300), period=st.floats(4, 30))
def test_what_is_prepared_for_nothing_is_bounded(gaps: list[float], period: float) -> None:
    """At most one preparation is unused, and one per twenty useful ones, whatever the times."""
    rhythms = Rhythms(MAX_AGE)
    times = regular(8, period=period)
    for gap in gaps:
        times.append((times[-1][0] + (period if gap > 20 else gap), 0))
    play(times, rhythms=rhythms)
    assert rhythms.unused <= 2 + len(times) / 20


def test_memory_is_bounded() -> None:
    """The bound is in bytes, as callers choose their selectors."""
    rhythms = Rhythms(MAX_AGE, max_bytes=64 * 1024)
    for number in range(100):
        rhythms.asked(Question("default", "m", parse_selector(f"app=a{number}")), number, 1)
    assert 1 < len(rhythms) < 40


def test_a_selector_no_hpa_has_is_not_remembered() -> None:
    """Such a selector may be as long as a request allows."""
    rhythms = Rhythms(MAX_AGE)
    selector = parse_selector(f"a in ({','.join(map(str, range(900)))})")
    rhythms.asked(Question("default", "m", selector), 0, 1)
    assert len(rhythms) == 0


def expected(rhythms: Rhythms, at: float) -> Due:
    """The question due then, after beginning its preparation just before."""
    ((one,), _) = rhythms.start(at - 0.02)
    assert rhythms.begin(one, at - 0.02)
    return one


def test_at_first_a_question_is_expected_to_need_a_page_for_each_of_its_pods() -> None:
    """Its current pods count."""
    rhythms = Rhythms(MAX_AGE)
    for n in range(7):
        rhythms.asked(QUESTION, n * PERIOD, pods=10 * n)
    assert expected(rhythms, 7 * PERIOD).pages == 60


def test_a_question_that_did_not_wait_for_its_pages_is_expected_to_need_as_many_again() -> None:
    """It reads the rest itself, so the pages read ahead say nothing about their number."""
    rhythms = Rhythms(MAX_AGE)
    for n in range(6):
        rhythms.asked(QUESTION, n * PERIOD, pods=100)
    for n, (known, pages) in enumerate([(100, 3), (100, 0), (100, 120), (120, 3)], start=6):
        at = n * PERIOD
        late = expected(rhythms, at)
        assert late.pages == known
        # Either of the two may be recorded first.
        if n % 2:
            rhythms.asked(QUESTION, at, pods=100)
        rhythms.prepared(late, pages=pages, began=at - 0.02, ended=at + 0.1)
        if not n % 2:
            rhythms.asked(QUESTION, at, pods=100)
    at = 10 * PERIOD
    in_time = expected(rhythms, at)
    assert in_time.pages == 120
    rhythms.prepared(in_time, pages=7, began=at - 0.02, ended=at - 0.01)
    rhythms.asked(QUESTION, at, pods=100)
    assert expected(rhythms, at + PERIOD).pages == 7


def due(at: float, pages: int = 1, early: float = 0.05) -> Due:
    """A time when a question is due."""
    return Due(at, early, at, pages, QUESTION)


def test_what_is_due_at_once_is_spread_over_the_time_before() -> None:
    """Starts are spread by the number of pages, and as late as possible."""
    starts = spread([due(10, pages=100), due(10, pages=300), due(10.5)], lead=1, now=0)
    assert starts == pytest.approx([9.63, 9.71, 10.4492])


def test_more_than_there_is_time_for_is_closer_together() -> None:
    """Nothing is read more than a second ahead: it would be that old."""
    starts = spread([due(10, pages=100) for _ in range(100)], lead=1, now=0)
    assert starts[0] == pytest.approx(9, abs=0.06)
    steps = [after - before for before, after in pairwise(starts[10:])]
    assert steps == pytest.approx([0.01] * len(steps), rel=0.1)
    # Even if part of the second is over.
    starts = spread([due(10, pages=100) for _ in range(100)], lead=1, now=9.5)
    assert starts[50] == pytest.approx(9.75, abs=0.05)


def test_one_that_is_late_leaves_the_others_their_time() -> None:
    """The first is due in 20 ms, and takes 53 ms like the others, which are due every 50 ms."""
    dues = [due(0.02 + 0.05 * number, pages=66, early=0) for number in range(40)]
    starts = spread(dues, lead=1, now=0)
    assert starts[0] == 0
    early = [one.at - start for one, start in zip(dues, starts, strict=True)]
    assert min(early[10:]) > 0.025


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 500), st.floats(0, 1)), max_size=50))
def test_each_begins_in_time_and_in_order(some: list[tuple[float, int, float]]) -> None:
    """Each begins within the second before it is due, and no later than those due later."""
    dues = [due(at, pages, early) for at, pages, early in sorted(some)]
    starts = spread(dues, lead=1, now=0)
    assert starts == sorted(starts)
    for one, start in zip(dues, starts, strict=True):
        assert max(0, one.at - 1) <= start <= max(0, one.at - one.early)
