"""A whole server's values and errors, seen from outside."""

import asyncio

import pytest
from structlog.testing import capture_logs

from tests.support.clients import Answer
from tests.support.exporters import page
from tests.support.harness import cluster, configuration
from tests.support.objects import pod
from tests.support.server import UTILIZATION, ask, has_value
from tests.support.waiting import eventually


@pytest.mark.slow
async def test_the_fallback_chain_from_outside() -> None:
    """If exporters fail: the last value, then a simulated one, until they are back."""
    config = configuration(
        {
            "exporters": {"maxAge": "20ms"},
            "fallback": {"chain": ["last-known", "simulated"], "lastKnownMaxAge": "2s"},
        }
    )
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("a"), pod("b")], config) as simulated:
        exporter = simulated.exporters["gpu-0"]

        async def source() -> str:
            return (await ask(simulated)).item().metric_labels["source"]

        real = (await ask(simulated)).item()
        assert real.metric_labels == {"source": "exporters", "pods": "2/2"}
        exporter.status = 500
        with capture_logs() as logs:
            await eventually(source, lambda told: told == "last-known")
            known = (await ask(simulated)).item()
            assert (known.value, known.timestamp) == (real.value, real.timestamp)
            assert known.metric_labels == {"source": "last-known", "pods": "2/2"}
            await eventually(source, lambda told: told == "simulated")
            made_up = (await ask(simulated)).item()
        assert 60 <= int(made_up.value) <= 90
        # No pod was measured, so none is counted.
        assert made_up.metric_labels == {"source": "simulated"}
        warnings = [log for log in logs if log["event"] == "Failed to get real metrics"]
        assert warnings[0]["answered"] == "last-known"
        assert f"exporter {exporter.url} answered HTTP 500" in warnings[0]["error"]
        # Only percentages can be made up.
        power = await simulated.client.metric("default", "gpu_power_usage", "app=inference")
        assert power.error().code == 503
        exporter.status = 200
        exporter.page = page({("default", "a"): [40], ("default", "b"): [60]})
        await eventually(lambda: ask(simulated), has_value("50", 2))


async def test_no_fallback_for_what_is_no_missing_measurement() -> None:
    """Missing pods, or an unknown metric, are an error whatever the chain."""
    config = configuration({"fallback": {"chain": ["simulated"]}})
    async with cluster({}, [pod("a")], config) as simulated:
        assert (await ask(simulated)).item().metric_labels == {"source": "simulated"}
        assert (await ask(simulated, "elsewhere")).error().code == 404
        unknown = await simulated.client.metric("default", "cpu", "app=inference")
        assert unknown.error().code == 404


async def test_a_step_at_the_exporter_is_seen_in_time() -> None:
    """No answer to a question more than maxAge after a step is from before it."""
    max_age = 0.3
    config = configuration({"exporters": {"maxAge": "300ms"}})
    clock = asyncio.get_running_loop().time
    async with cluster({"gpu-0": page({("default", "a"): [0]})}, [pod("a")], config) as simulated:
        assert has_value("0", 1)(await ask(simulated))
        simulated.exporters["gpu-0"].page = page({("default", "a"): [100]})
        step = last_asked = clock()

        async def timed() -> Answer:
            nonlocal last_asked
            asked = clock()
            answer = await ask(simulated)
            if has_value("0", 1)(answer):
                last_asked = asked
            return answer

        await eventually(timed, has_value("100", 1))
        # The event loop's timers are only as exact as the machine allows.
        assert last_asked - step <= max_age + 0.1
        # Questions within maxAge cause no scrape.
        assert simulated.exporters["gpu-0"].scrapes == 2


async def test_questions_at_once_share_a_scrape() -> None:
    """However many HPAs ask at once, an exporter is scraped once."""
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("a"), pod("b")]) as simulated:
        metrics = ["gpu_utilization"] * 20 + ["gpu_temperature"] * 5
        answers = await asyncio.gather(
            *(simulated.client.metric("default", name) for name in metrics)
        )
        assert [answer.status for answer in answers] == [200] * 20 + [503] * 5
        assert simulated.exporters["gpu-0"].scrapes == 1
