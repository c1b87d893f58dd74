import asyncio

from structlog.testing import capture_logs

from metrics_server.common.tasks import background


async def test_a_task_that_ends_says_why() -> None:
    """A task that fails or ends is logged by name."""

    async def fails() -> None:
        raise RuntimeError("the reason")

    async def returns() -> None:
        return

    for run, reason in ((fails, "the reason"), (returns, None)):
        with capture_logs() as logs:
            async with background("keeps-up", run) as task:
                await asyncio.wait([task])
        (line,) = logs
        assert (line["log_level"], line["task"]) == ("error", "keeps-up")
        assert (str(line["exc_info"]) if reason else line["exc_info"]) == reason


async def test_a_task_that_is_ended_says_nothing() -> None:
    """A task that is cancelled at the end of its context is not logged."""

    async def runs() -> None:
        await asyncio.Event().wait()

    with capture_logs() as logs:
        async with background("keeps-up", runs) as task:
            await asyncio.sleep(0)
    assert task.cancelled()
    assert not logs
