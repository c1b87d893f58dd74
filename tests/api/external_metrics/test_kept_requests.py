"""What is kept from requests is bounded: callers choose every part of them."""

from aiohttp import hdrs

from metrics_server.api import external_metrics
from tests.support.clients import Client
from tests.support.external_metrics import METRIC


async def test_a_request_with_a_long_header_is_not_kept(client: Client) -> None:
    """The caches of questions are bounded by count, and keep the requests themselves."""
    kept = external_metrics._known_question.cache_info
    await client.ask(METRIC)
    before = kept().currsize
    assert before > 0
    accept = f"a/{'b' * 60}, " * 50 + "*/*"
    answer = await client.ask(METRIC, {hdrs.ACCEPT: accept})
    assert answer.item().value == "7"
    assert kept().currsize == before
