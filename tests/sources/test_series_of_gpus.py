"""A series selector on exporters' pages: GPUs that do not match do not count."""

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, structs

from metrics_server.errors import AmbiguousSeriesError, NoSeriesMatchesError, ScrapeError
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.pods import Pod
from metrics_server.kube.series_selectors import split
from metrics_server.measuring.samples import Collection
from metrics_server.rules.series import SeriesMatcher
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.exporters.source import ExporterSource
from metrics_server.sources.pages.access import AccessKeeper
from metrics_server.sources.pages.scraper import Scraper, Scrapes
from tests.support.collecting import RULE, Nodes, causes, pod, values


class Shelf(Scraper[Page]):
    """Pages without scraping."""

    def __init__(self, pages: Mapping[str, str | None]) -> None:
        self._pages = pages

    async def scrape(
        self, targets: Iterable[str], _: Mapping[str, AccessKeeper] | None = None, /
    ) -> Scrapes[Page]:
        """The pages by URL."""
        outcomes: dict[str, Page | ScrapeError] = {}
        for target in targets:
            page = self._pages[target]
            if page is None:
                outcomes[target] = ScrapeError("could not be reached", "unreachable")
            else:
                outcomes[target] = Page(target, page.encode(), 0)
        return Scrapes(outcomes, fresh_until=0)


async def collect(
    pages: str | Mapping[str, str | None], pods: Sequence[Pod], selector: str = ""
) -> Collection:
    """Measure pods with their nodes' pages; a single page is that of n1."""
    by_node = {"n1": pages} if isinstance(pages, str) else pages
    nodes = Nodes({node: (node,) for node in by_node})
    rule = structs.replace(RULE, series=split(parse_selector(selector))[1])
    return await ExporterSource(nodes, Shelf(by_node)).collect(rule, pods)


class Gpu(Struct, frozen=True):
    """A GPU with its labels and its values in two families; None means no row."""

    number: int
    pod: str
    labels: dict[str, str]
    util: int | None = 0
    clock: int | None = 0

    def rows(self) -> str:
        """Its rows."""
        labels = {"gpu": str(self.number), "UUID": f"GPU-{self.number}", **self.labels}
        if self.pod:
            labels |= {"namespace": "inference", "pod": self.pod}
        text = ",".join(f'{name}="{value}"' for name, value in labels.items())
        families = {"DCGM_FI_DEV_GPU_UTIL": self.util, "DCGM_FI_DEV_SM_CLOCK": self.clock}
        return "".join(f"{f}{{{text}}} {v}\n" for f, v in families.items() if v is not None)


def page(*gpus: Gpu) -> str:
    """The page with these GPUs."""
    return "".join(gpu.rows() for gpu in gpus)


A100, H100 = {"modelName": "NVIDIA A100"}, {"modelName": "NVIDIA H100"}
OF_A100 = "series/modelName=NVIDIA_A100"


async def test_a_pod_with_gpus_of_two_models() -> None:
    """Only matching GPUs count, and a pod without one is excluded."""
    gpus = (
        Gpu(0, "a", A100, 10),
        Gpu(1, "a", H100, 90),
        Gpu(2, "b", H100, 80),
        Gpu(3, "c", A100, 30),
    )
    pods = [pod("a", gpus=2), pod("b"), pod("c")]
    found = await collect(page(*gpus), pods, OF_A100)
    assert values(found) == [(10,), (30,)]
    assert (found.selected, found.excluded) == (2, frozenset({"b"}))
    assert values(await collect(page(*gpus), pods, "series/modelName!=NVIDIA_A100")) == [
        (90,),
        (80,),
    ]


@pytest.mark.parametrize(
    "gpus",
    [
        # A matching GPU has no row in the family, or a rejected value.
        (Gpu(0, "a", A100, 10), Gpu(1, "a", A100, None)),
        (Gpu(0, "a", A100, 10), Gpu(1, "a", A100, 101)),
        # A GPU without any row may match.
        (Gpu(0, "a", A100, 10),),
        (Gpu(0, "a", H100, 10),),
        # Two rows of a GPU with different values.
        (Gpu(0, "a", A100, 10), Gpu(0, "a", A100, 20), Gpu(1, "a", H100, 1)),
    ],
)
async def test_a_pod_without_a_value_for_each_gpu_that_matches(gpus: tuple[Gpu, ...]) -> None:
    """The pod is missing: neither excluded nor measured by its other GPUs."""
    found = await collect(page(*gpus), [pod("a", gpus=2)], OF_A100)
    assert (found.samples, found.excluded, found.selected) == ((), frozenset(), 1)
    assert causes(found)["no-sample"]


@pytest.mark.parametrize(
    ("other", "value"), [(Gpu(1, "a", H100, None), 10), (Gpu(1, "a", H100, 101), 10)]
)
async def test_a_gpu_that_does_not_match_needs_no_value(other: Gpu, value: int) -> None:
    """Such a GPU's value may be missing or invalid."""
    found = await collect(page(Gpu(0, "a", A100, 10), other), [pod("a", gpus=2)], OF_A100)
    assert values(found) == [(value,)]


async def test_a_label_that_is_not_the_gpus() -> None:
    """If one GPU's rows differ in it, it cannot select: the message says so."""
    gpus = (Gpu(0, "a", {"err": "1"}, 10, None), Gpu(0, "a", {"err": "2"}, None, 5))
    found = await collect(page(*gpus), [pod("a")], "series/err=1")
    assert found.samples == ()
    assert causes(found)["no-sample"][0] == (
        "pod a: the rows of one GPU differ in the label err, which therefore cannot select GPUs"
    )


async def test_a_page_without_the_label() -> None:
    """Its pods are missing; if all pages lack it, the error lists the existing labels."""
    pages = {"n1": page(Gpu(0, "a", A100, 10)), "n2": page(Gpu(0, "b", {}, 20))}
    pods = [pod("a"), pod("b", "n2")]
    found = await collect(pages, pods, OF_A100)
    assert (values(found), found.selected, found.excluded) == ([(10,)], 2, frozenset())
    with pytest.raises(
        NoSeriesMatchesError, match="no row has the label model; the labels are UUID"
    ):
        await collect(pages, pods, "series/model=a")


async def test_instances() -> None:
    """A whole GPU has no profile, even if no GPU on its node is partitioned."""
    instance = {"GPU_I_ID": "1", "GPU_I_PROFILE": "1g.10gb"}
    pages = {"n1": page(Gpu(0, "a", instance, 10)), "n2": page(Gpu(0, "b", {}, 20))}
    pods = [pod("a"), pod("b", "n2")]
    found = await collect(pages, pods, "series/GPU_I_PROFILE=1g.10gb")
    assert (values(found), found.excluded) == ([(10,)], frozenset({"b"}))
    found = await collect(pages, pods, "!series/GPU_I_PROFILE")
    assert (values(found), found.excluded) == ([(20,)], frozenset({"a"}))


async def test_an_instance_and_its_gpu() -> None:
    """A GPU that does not match cannot replace an instance that does."""
    instance = {"GPU_I_ID": "1", "GPU_I_PROFILE": "1g.10gb"}
    gpus = (Gpu(0, "a", {}, 50), Gpu(0, "a", instance, None))
    assert values(await collect(page(*gpus), [pod("a")])) == [(50,)]
    found = await collect(page(*gpus), [pod("a")], "series/GPU_I_PROFILE=1g.10gb")
    assert (found.samples, found.excluded) == ((), frozenset())


async def test_shared_gpus() -> None:
    """An answer is shared if a matching GPU is."""
    gpus = (Gpu(0, "a", A100, 10), Gpu(0, "other", A100, 10), Gpu(1, "a", H100, 20))
    pods = [pod("a", gpus=2)]
    (of_both,) = (await collect(page(*gpus), pods)).samples
    (of_a100,) = (await collect(page(*gpus), pods, OF_A100)).samples
    (of_h100,) = (await collect(page(*gpus), pods, "series/modelName=NVIDIA_H100")).samples
    assert [one.shared for one in (of_both, of_a100, of_h100)] == [True, True, False]


async def test_a_drained_pod() -> None:
    """A drained pod has no GPU left, whatever the selector, so its work is 0."""
    pods = [structs.replace(pod("a"), terminating=True), pod("b"), pod("c")]
    gpus = (Gpu(0, "", A100, 0), Gpu(1, "b", A100, 40), Gpu(2, "c", H100, 40))
    found = await collect(page(*gpus), pods, OF_A100)
    assert (values(found), found.selected, found.drained) == ([(40,)], 2, ("a",))


async def test_two_models_of_one_form() -> None:
    """Models are ambiguous even on different nodes; pods that are not selected do not matter."""
    pages = {
        "n1": page(Gpu(0, "a", {"m": "x y"}, 1)),
        "n2": page(Gpu(0, "b", {"m": "x/y"}, 2)),
    }
    with pytest.raises(AmbiguousSeriesError, match='"x_y" could be "x y" or "x/y"'):
        await collect(pages, [pod("a"), pod("b", "n2")], "series/m=x_y")
    assert values(await collect(pages, [pod("a")], "series/m=x_y")) == [(1,)]


async def test_an_exporter_that_fails() -> None:
    """Its pods might match: the message has the others' values, and is not an error yet."""
    pages = {"n1": page(Gpu(0, "a", {"m": "a/1"}, 10)), "n2": None}
    found = await collect(pages, [pod("a"), pod("b", "n2")], "series/m=b")
    says = 'no GPU of other pods matches series/m=b: the value of m is "a/1" (in a selector: a_1)'
    assert causes(found) == {
        "no-sample": [says],
        "exporters-failed": ["exporter n2 could not be reached"],
    }


LABELS = st.fixed_dictionaries(
    {"m": st.sampled_from(["a", "x/y"])}, optional={"n": st.sampled_from(["1", "2"])}
)
NUMBERS = st.sampled_from([None, 0, 30, 99, 101])
GPUS = st.lists(
    st.builds(Gpu, st.just(0), st.sampled_from(["p", "q", "r", ""]), LABELS, NUMBERS, NUMBERS),
    max_size=8,
).map(lambda gpus: [structs.replace(gpu, number=at) for at, gpu in enumerate(gpus)])
SELECTORS = st.sampled_from(
    ["series/m=a", "series/m!=a", "series/m in (x_y)", "series/m=a,series/n!=1", "series/m"]
)


@given(GPUS, SELECTORS, st.dictionaries(st.sampled_from("pqr"), st.integers(0, 1)), st.randoms())
def test_as_if_the_others_were_not_there(
    gpus: list[Gpu], selector: str, unseen: dict[str, int], order: random.Random
) -> None:
    """Each pod has the value from the page without the GPUs that do not match.

    Its request is smaller by these, but not by any that the page does not show.
    """

    def named(pods: Iterable[str], shown: list[Gpu]) -> list[Pod]:
        counts = {name: sum(gpu.pod == name for gpu in shown) for name in pods}
        return [pod(name, gpus=counts[name] + unseen.get(name, 0)) for name in pods]

    matcher = SeriesMatcher(split(parse_selector(selector))[1])
    visible = [gpu for gpu in gpus if (gpu.util, gpu.clock) != (None, None)]
    kept = [gpu for gpu in visible if matcher.matches(gpu.labels)]
    # Without a GPU, all that is known about a pod is that the page does not name it.
    names = sorted({gpu.pod for gpu in kept} - {""})
    lines = page(*gpus).splitlines(keepends=True)
    order.shuffle(lines)

    async def both() -> None:
        expected = await collect(page(*kept), named(names, kept))
        found = await collect("".join(lines), named(names, visible), selector)
        assert found.samples == expected.samples
        assert found.selected == expected.selected
        assert not found.excluded

    if names:
        asyncio.run(both())
