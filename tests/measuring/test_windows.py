"""Means over a window: what the background measures, for how long, and the results."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from structlog.testing import capture_logs

from metrics_server.errors import MeasurementMissingError
from metrics_server.kube.labels import parse_selector
from metrics_server.measuring.samples import Measurement, Question
from metrics_server.measuring.windows import Windows
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.model import MetricRule
from tests.support import exporters, harness, objects
from tests.support.clock import Clock
from tests.support.waiting import until

# Measured in the background each second: tests that do not wait for this are faster.
WINDOWED = structs.replace(CATALOGUE[0], name="smooth", window=30)
SUM = structs.replace(WINDOWED, over_pods="sum")
MAX = structs.replace(WINDOWED, over_pods="max")
# Measured in the background each thirtieth of a second.
QUICK = structs.replace(CATALOGUE[0], name="quick", window=1)
QUESTION = Question("default", "smooth", parse_selector("app=a"))
OTHER = Question("default", "smooth", parse_selector("app=b"))


@pytest.fixture
def clock() -> Clock:
    """A clock at 0."""
    return Clock()


@pytest.fixture
async def windows(clock: Clock) -> AsyncIterator[Windows]:
    """Windows whose background measures once a second at most."""
    async with Windows(period=1, clock=clock) as one:
        yield one


def measured(value: float, timestamp: float, pods: int = 1) -> Measurement:
    """A current measurement."""
    return Measurement(value, timestamp, pods, pods)


async def never() -> Measurement:
    """Not called: no test takes so long that the background would measure again."""
    raise MeasurementMissingError("not measured", "no-sample")


def ask(
    windows: Windows,
    clock: Clock,
    now: float,
    value: float,
    *,
    pods: int = 1,
    rule: MetricRule = WINDOWED,
    question: Question = QUESTION,
) -> float:
    """The answered mean, with this measurement at this time."""
    clock.now = now
    answer = windows.mean(question, rule, measured(value, 1000 + now, pods), never)
    assert answer.timestamp == 1000 + now
    return answer.value


def background() -> list[str]:
    """The names of the tasks that measure for windows."""
    names = (task.get_name() for task in asyncio.all_tasks())
    return [name for name in names if name.startswith("window ")]


async def test_the_mean_is_of_what_was_measured_in_the_window(
    windows: Windows, clock: Clock
) -> None:
    """The first answer is the current value; then each measurement counts once, until 30 s old."""
    assert ask(windows, clock, 0, 90) == 90
    assert ask(windows, clock, 10, 30) == 60
    assert ask(windows, clock, 20, 0) == 40
    assert ask(windows, clock, 29, 0) == 30
    assert ask(windows, clock, 30, 0) == 7.5
    assert ask(windows, clock, 100, 55) == 55


async def test_a_scrape_that_is_reported_again_counts_once(windows: Windows, clock: Clock) -> None:
    """Questions within maxAge share a scrape, and so weigh no more than others."""
    ask(windows, clock, 0, 10)
    clock.now = 1.5
    assert windows.mean(QUESTION, WINDOWED, measured(10, 1000), never).timestamp == 1000
    assert ask(windows, clock, 2, 20) == 15


async def test_what_comes_soon_after_another_is_left_out(windows: Windows, clock: Clock) -> None:
    """The background and questions alternate; each stretch of time counts about once."""
    ask(windows, clock, 0, 10)
    clock.now = 0.25
    answer = windows.mean(QUESTION, WINDOWED, measured(90, 1000.25), never)
    assert (answer.value, answer.timestamp) == (10, 1000)


async def test_questions_do_not_mix(windows: Windows, clock: Clock) -> None:
    """Each question has its own window."""
    assert ask(windows, clock, 0, 10) == 10
    assert ask(windows, clock, 1, 90, question=OTHER) == 90
    assert ask(windows, clock, 2, 30) == 20


async def test_a_new_pod_does_not_weigh_a_whole_window(windows: Windows, clock: Clock) -> None:
    """Four pods at 90 do 360, as do six at 60: earlier values become 60 for each of six."""
    for second in range(20):
        ask(windows, clock, second, 90, pods=4)
    assert ask(windows, clock, 20, 60, pods=6) == pytest.approx(60)
    # Two that start hot count in the one measurement they were in.
    hot = ask(windows, clock, 21, 100, pods=8)
    assert hot == pytest.approx((21 * 360 + 800) / 22 / 8)


async def test_a_pod_that_is_gone_leaves_its_work(windows: Windows, clock: Clock) -> None:
    """Eight pods at 40 did 320: for four that is 80 each, whatever these showed before."""
    for second in range(20):
        ask(windows, clock, second, 40, pods=8)
    assert ask(windows, clock, 20, 80, pods=4) == pytest.approx(80)
    assert ask(windows, clock, 21, 100, pods=2) == 100, "no GPU is busier than that"


async def test_a_sum_and_a_maximum_are_averaged_as_they_are(windows: Windows, clock: Clock) -> None:
    """A sum is already work; a maximum is that of any pod, however many there are."""
    assert ask(windows, clock, 0, 360, pods=4, rule=SUM) == 360
    assert ask(windows, clock, 10, 400, pods=8, rule=SUM) == 380
    assert ask(windows, clock, 10, 100, pods=4, rule=MAX, question=OTHER) == 100
    assert ask(windows, clock, 20, 50, pods=8, rule=MAX, question=OTHER) == 75


async def test_a_question_is_measured_while_it_is_in_demand() -> None:
    """The window fills between questions; without one for `linger`, nothing is measured."""
    clock, values = Clock(), [measured(10, 0)]

    async def measure() -> Measurement:
        clock.now += 0.02
        values.append(structs.replace(values[-1], timestamp=clock.now))
        return values[-1]

    async with Windows(period=0.001, linger=60, clock=clock) as windows:
        windows.mean(QUESTION, QUICK, values[0], measure)
        assert background() == ["window default/smooth"]
        await until(lambda: len(values) >= 3)
        values.append(measured(90, clock.now))
        await until(lambda: len(values) >= 8)
        answer = windows.mean(QUESTION, QUICK, values[-1], measure)
        assert 10 < answer.value < 90
        clock.now += 100
        await until(lambda: not background())
        count = len(values)
        assert windows.mean(QUESTION, QUICK, measured(90, 5), measure).value == 90, "a new window"
        assert len(values) == count


async def test_an_hpa_that_asks_every_three_minutes_finds_its_window_measured() -> None:
    """A question is in demand for three minutes, and no longer."""
    clock, count = Clock(), 0

    async def measure() -> Measurement:
        nonlocal count
        count += 1
        return measured(1, count)

    async with Windows(period=0.001, clock=clock) as windows:
        windows.keep_measuring(QUESTION, QUICK, measure)
        clock.now += 180
        await until(lambda: count >= 2)
        clock.now += 1
        await until(lambda: not background())


async def test_a_long_window_is_not_measured_more_often_than_30_times() -> None:
    """With a period of a millisecond, a window of 30 s is measured each second."""
    counts = {"long": 0, "quick": 0}

    async def measure(which: str) -> Measurement:
        counts[which] += 1
        return measured(1, counts[which])

    async with Windows(period=0.001) as windows:
        windows.mean(QUESTION, WINDOWED, measured(1, 0), lambda: measure("long"))
        windows.mean(OTHER, QUICK, measured(1, 0), lambda: measure("quick"))
        await until(lambda: counts["quick"] >= 7)
        assert counts["long"] <= 2


async def test_a_missing_measurement_is_a_gap() -> None:
    """The window continues: the next question gets the error for the missing measurement."""
    calls = 0

    async def measure() -> Measurement:
        nonlocal calls
        calls += 1
        raise MeasurementMissingError("0 of 1 pods have a measurement", "no-sample")

    async with Windows(period=0.001) as windows:
        windows.mean(QUESTION, QUICK, measured(10, 0), measure)
        await until(lambda: calls >= 3)
        assert background()


async def test_an_error_in_the_background_is_logged_and_the_next_question_starts_over() -> None:
    """The error is logged; the next question starts another window."""

    async def fail() -> Measurement:
        raise RuntimeError("of a test")

    async with Windows(period=0.001) as windows:
        with capture_logs() as logs:
            windows.mean(QUESTION, QUICK, measured(10, 0), fail)
            await until(lambda: not background())
        assert [line["event"] for line in logs] == ["window stopped"]
        assert windows.mean(QUESTION, QUICK, measured(90, 1), fail).value == 90


@given(
    values=st.lists(st.tuples(st.floats(0, 100), st.floats(0.001, 100)), min_size=1, max_size=200)
)
def test_memory_is_bounded(values: list[tuple[float, float]]) -> None:
    """However often it is asked, some 60 values are kept, and the mean is within their range."""

    async def run() -> None:
        clock = Clock()
        async with Windows(period=0.001, clock=clock) as windows:
            for value, step in values:
                clock.now += step
                mean = windows.mean(QUESTION, WINDOWED, measured(value, clock.now), never).value
                assert min(values)[0] - 1e-9 <= mean <= max(values)[0] + 1e-9
            window = windows._windows[QUESTION]
            assert 1 <= len(window._values) == len(window._times) <= 61
            # With rounded floats, the difference may be the window itself.
            assert window._times[-1] - window._times[0] <= WINDOWED.window + 1e-9

    asyncio.run(run())


async def test_the_number_of_windows_is_bounded() -> None:
    """Callers can invent endless selectors: the oldest window is dropped, with its task."""
    async with Windows(period=0.01) as windows:
        for n in range(1100):
            question = Question(f"team-{n}", "quick", parse_selector(f"app={n}"))
            windows.mean(question, QUICK, measured(1, 0), never)
        await until(lambda: len(background()) <= 1000)
        assert len(windows._windows) <= 1000


async def test_a_namespace_takes_no_windows_from_others(windows: Windows, clock: Clock) -> None:
    """Each window costs time until nobody asks, so a namespace has a limit: the latest are kept."""
    theirs = structs.replace(QUESTION, namespace="theirs")
    ask(windows, clock, 0, 10, question=theirs)
    for n in range(100):
        ask(windows, clock, 1, 10, question=QUESTION)
        ask(windows, clock, 1, 10, question=Question("default", "smooth", parse_selector(f"n={n}")))
    assert len(windows._windows) == 1 + 64
    assert ask(windows, clock, 2, 90, question=theirs) == 50
    assert ask(windows, clock, 2, 90) == 50, "it was asked lately"
    assert (
        ask(windows, clock, 2, 90, question=Question("default", "smooth", parse_selector("n=0")))
        == 90
    )


async def test_a_server_answers_with_the_mean_of_the_window() -> None:
    """The answer has its window, and the exporter is scraped between questions."""
    busy = {("default", "a"): [20.0]}
    config = harness.configuration(
        {
            "exporters": {"maxAge": "10ms"},
            "rules": [
                {
                    "name": "smooth",
                    "window": "2s",
                    "readings": [{"family": "DCGM_FI_DEV_GPU_UTIL", "maximum": 100}],
                }
            ],
        }
    )
    async with harness.cluster(
        {"gpu-0": exporters.page(busy)}, [objects.pod("a")], config
    ) as simulated:
        exporter = simulated.exporters["gpu-0"]
        item = (await simulated.client.metric("default", "smooth")).item()
        assert (item.value, item.window) == ("20", 2)
        await until(lambda: exporter.scrapes >= 5)
        exporter.page = exporters.page({("default", "a"): [80.0]})
        scrapes = exporter.scrapes
        await until(lambda: exporter.scrapes >= scrapes + 3)
        item = (await simulated.client.metric("default", "smooth")).item()
        assert 20 < int(item.value) < 80
        plain = (await simulated.client.metric("default", "gpu_utilization")).item()
        assert (plain.value, plain.window) == ("80", None)
