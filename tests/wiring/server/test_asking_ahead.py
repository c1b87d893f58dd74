"""Whether a whole server reads pages ahead."""

import asyncio

import pytest

from tests.support.exporters import page
from tests.support.harness import client_of, cluster, configuration
from tests.support.objects import pod
from tests.support.server import UTILIZATION, ask


def names() -> set[str]:
    """The names of all tasks."""
    return {task.get_name() for task in asyncio.all_tasks()}


@pytest.mark.parametrize("is_on", [True, False])
async def test_one_setting_turns_it_off(*, is_on: bool) -> None:
    """Then no questions are remembered, and no task for reading ahead runs."""
    config = configuration({"exporters": {"askAhead": is_on}})
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("a"), pod("b")], config) as simulated:
        assert (await ask(simulated)).status == 200
        metrics = (await simulated.client.ask("/metrics")).text
        assert f'gpu_metrics_server_cached_objects{{kind="rhythms"}} {float(is_on)}' in metrics
        assert "gpu_metrics_server_pages_read_ahead_total 0.0" in metrics
        assert 'gpu_metrics_server_questions_prepared_total{outcome="unused"} 0.0' in metrics
        assert ("ask-ahead" in names()) == is_on
    assert "ask-ahead" not in names()


async def test_what_is_denied_is_not_remembered() -> None:
    """Only questions that their callers may ask are expected again."""
    async with (
        cluster({"gpu-0": page(UTILIZATION)}, [pod("a"), pod("b")]) as simulated,
        client_of(simulated.server) as anonymous,
    ):
        simulated.trust.reviews.decide = lambda *_: {"allowed": False}
        denied = await anonymous.metric("default", "gpu_utilization", "app=inference")
        assert denied.status == 403
        metrics = (await simulated.client.ask("/metrics")).text
        assert 'gpu_metrics_server_cached_objects{kind="rhythms"} 0.0' in metrics
