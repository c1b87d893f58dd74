"""The pieces of work that are counted, by name."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial

from tests.bench.counts import pure, served
from tests.bench.counts.counting import Counts, Work, count, count_until
from tests.bench.counts.served import Peers, answers

PURE: Mapping[str, Callable[[], Work]] = {
    "parse a page of 8 GPUs": pure.parse_page,
    "select among 1,000 pods": pure.select_pods,
    "list 1,000 pods": pure.list_pods,
}
SERVED: Mapping[str, Callable[[Peers], AbstractContextManager[Work]]] = {
    "100 warm External answers": partial(answers, served.UTILIZATION, 100, "1h"),
    "10 warm answers with 100 pods": partial(answers, served.PODS_UTILIZATION, 10, "1h"),
    "3 External answers that scrape 13 exporters": partial(answers, served.UTILIZATION, 3, "1ms"),
    "3 answers with 100 pods that scrape 13 exporters": partial(
        answers, served.PODS_UTILIZATION, 3, "1ms"
    ),
    "3 External answers that scrape 20 pods": partial(answers, served.QUEUE, 3, "1ms"),
}


def count_all(is_right: Callable[[str, Counts], bool]) -> Iterator[tuple[str, Counts]]:
    """Count every piece of work in turn.

    Args:
        is_right: whether a piece's counts are as expected; if not, work that does not run alone
            is counted again.
    """
    for name, make in PURE.items():
        yield name, count(make(), alone=True)
    with served.peers() as around:
        for name, begin in SERVED.items():
            with begin(around) as work:
                yield name, count_until(work, partial(is_right, name))
