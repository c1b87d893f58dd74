"""Hints about pages that have no value for a pod."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from metrics_server.errors import MAX_MESSAGE, MeasurementMissingError
from metrics_server.kube.pods import Pod
from metrics_server.measuring.aggregation import aggregate
from metrics_server.measuring.samples import Collection, Gap
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.sources import turns as turns_module
from metrics_server.sources.exporters.hints import hints
from metrics_server.sources.exporters.inventory import Inventory
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages import text

UTIL = Reading("DCGM_FI_DEV_GPU_UTIL", 0, 100)
RULE = MetricRule("gpu_utilization", "of the test", "percent", (UTIL,), 100)
POD = Pod("ml", "mine", {}, "n1", "Running", ready=True, terminating=False, gpus=1)
OTHER = 'DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-1",namespace="ml",pod="other"} 5\n'
FREE = 'DCGM_FI_DEV_GPU_UTIL{gpu="2",UUID="GPU-2"} 5\n'
MINE = 'DCGM_FI_DEV_GPU_UTIL{gpu="3",UUID="GPU-3",namespace="ml",pod="mine"} 5\n'


def said(page: str, *, rule: MetricRule = RULE, gpus: int = 1, shareable: int = 0) -> str:
    """All hints about a page without a value for the pod."""
    pod = Pod(
        "ml",
        "mine",
        {},
        "n1",
        "Running",
        ready=True,
        terminating=False,
        gpus=gpus,
        shareable=shareable,
    )
    return "; ".join(words(rule, pod, Page("http://e", page.encode(), 0)))


def words(rule: MetricRule, pod: Pod, *pages: Page) -> list[str]:
    """Each clause."""

    async def every() -> list[str]:
        return [one async for one in hints(rule, [(pod, pages)])]

    return asyncio.run(every())


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("", "a page was empty"),
        ("go_goroutines 7\n", "a page lists no GPUs, as is normal while an exporter starts"),
        (
            'DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="A"} 40\n',
            "no GPU rows in any family that gpu_utilization is read from",
        ),
        (
            'DCGM_FI_DEV_GPU_UTIL{chip="0",serial="A"} 40\n',
            "rows of DCGM_FI_DEV_GPU_UTIL, but their labels (chip, serial) match no known",
        ),
        (FREE, "the page names no pods at all"),
        (OTHER + FREE, "names other pods, but not pod mine, and no pod for 1 of the GPUs"),
        (
            MINE.replace('"ml"', '"elsewhere"'),
            "the page names a pod mine, but not in namespace ml",
        ),
    ],
)
def test_a_page_is_explained(page: str, words: str) -> None:
    """Each way of having no value has its own hint."""
    assert words in said(page)


def test_claims_are_a_reason() -> None:
    """A pod with a ResourceClaim is named only by an exporter that looks for claims."""
    assert "KUBERNETES_ENABLE_DRA" in said(OTHER, shareable=1)
    assert "KUBERNETES_ENABLE_DRA" not in said(OTHER)


def test_more_gpus_are_requested_than_there_are_values_for() -> None:
    """The page has one of four."""
    assert "requests 4 GPUs, but the exporters report values for 1" in said(MINE, gpus=4)


def test_rows_that_where_leaves_out_are_named() -> None:
    """The hint has the label and value to look for."""
    reading = Reading("DCGM_FI_DEV_GPU_UTIL", 0, 100, where=(("kind", "whole"),))
    rule = MetricRule("gpu_utilization", "of the test", "percent", (reading,), 100)
    assert said(MINE, rule=rule) == 'no row of DCGM_FI_DEV_GPU_UTIL has kind="whole"'


def test_the_first_reading_that_where_leaves_out_is_named() -> None:
    """The first reading is named, whichever page it is on, as a rule prefers it."""
    readings = tuple(
        Reading(f"DCGM_FI_DEV_{name}", 0, 100, where=(("kind", "whole"),))
        for name in ("GPU_UTIL", "GPU_TEMP", "FB_USED")
    )
    rule = MetricRule("gpu_utilization", "of the test", "percent", readings, 100)
    later = MINE.replace("GPU_UTIL", "FB_USED") + MINE.replace("GPU_UTIL", "GPU_TEMP")
    pages = [Page("http://e", body.encode(), 0) for body in (later, MINE, later)]
    assert [one for one in words(rule, POD, *pages) if one.startswith("no row")] == [
        'no row of DCGM_FI_DEV_GPU_UTIL has kind="whole"'
    ]


@pytest.mark.parametrize("rows", [MINE, "DCGM_FI_DEV_GPU_TEMP 1\n"], ids=["where", "silent"])
def test_a_page_is_decompressed_once(rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decompressing it for each reading would block the event loop, if the page is long."""
    readings = tuple(
        Reading(f"DCGM_FI_DEV_{name}", 0, 100, where=(("kind", "whole"),))
        for name in ("GPU_UTIL_RATIO", "MEM_COPY_UTIL", "GPU_UTIL")
    )
    rule = MetricRule("gpu_utilization", "of the test", "percent", readings, 100)
    page = Page("http://e", (rows + "# more\n" * 10_000).encode(), 0)
    page.parse_all(readings)
    decompressed: list[bytes | None] = []
    unpacked = text._unpacked

    def counted(packed: bytes | None) -> bytes:
        decompressed.append(packed)
        return unpacked(packed)

    monkeypatch.setattr(text, "_unpacked", counted)
    assert words(rule, POD, page)
    assert len(decompressed) == 1


def test_readings_that_contradict_or_lack_parts_are_counted() -> None:
    """The page has a GPU that is idle and busy, and one with some dies missing."""
    dies = Reading("gpu_gfx_busy_instantaneous", 1, 100, each=("xcc_index",))
    activity = Reading("gpu_gfx_activity", 0, 100, unless=dies)
    rule = MetricRule("gpu_utilization", "of the test", "percent", (activity, dies), 100)
    labels = 'gpu_id="0",gpu_partition_id="0",gpu_compute_partition_type="spx"'
    labels += ',namespace="ml",pod="mine"'
    page = f"gpu_gfx_activity{{{labels}}} 0\n"
    page += f'gpu_gfx_busy_instantaneous{{{labels},xcc_index="1"}} 70\n'
    clauses = said(page, rule=rule)
    assert "GPUs that are idle in one family and busy in another: 1" in clauses
    assert "GPUs with values for only some of their compute dies or instances: 1" in clauses


@given(st.text(st.characters(exclude_characters='"\\\n', codec="utf-8"), min_size=1, max_size=999))
def test_what_a_page_says_is_on_one_printable_line(text: str) -> None:
    """A label's name or value from a page is cut, and escaped."""
    page = f'DCGM_FI_DEV_GPU_UTIL{{gpu="0",UUID="A",Hostname="{text}"}} 4\n'
    assert said(page).isprintable()


@given(
    st.lists(st.text(max_size=900), max_size=5),
    st.lists(st.text(max_size=300), min_size=1, max_size=9),
)
def test_a_message_fits_into_an_event(clauses: list[str], failures: list[str]) -> None:
    """A message fits however much there is to report."""
    collection = Collection(
        9,
        (),
        gaps=tuple(Gap("no-sample", one) for one in (*failures, *clauses)),
    )
    with pytest.raises(MeasurementMissingError) as raised:
        aggregate(RULE, collection, 0.5)
    assert len(str(raised.value)) <= MAX_MESSAGE


async def test_other_tasks_run_while_pages_are_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thousands of nodes only a few are examined closely, and others have their turns."""
    monkeypatch.setattr(turns_module, "_TURN_SECONDS", 0)
    taken: list[str] = []

    class CountedPage(Page):
        """A page that remembers that its inventory was taken."""

        __slots__ = ()

        def inventory(self) -> Inventory:
            """Return the GPUs on the page."""
            taken.append(self.target)
            return super().inventory()

    pages = [CountedPage(f"http://{n}", b"go_goroutines 7\n", 0) for n in range(500)]
    ended: list[int] = []

    async def count() -> None:
        while True:
            ended.append(len(taken))
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    without = [(structs.replace(POD, name=page.target), [page]) for page in pages]
    found = [one async for one in hints(RULE, without)]
    counting.cancel()
    assert found[0].startswith("a page lists no GPUs")
    assert len(set(taken)) == len(taken) == 20
    assert len(ended) > 500
    assert set(range(20)) <= set(ended)
