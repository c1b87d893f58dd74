"""Processes and dies of a GPU, and the cost of an inventory."""

import time
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_server.rules.model import Reading
from metrics_server.sources.exporters import inventory
from metrics_server.sources.exporters.pod_mapper import attribute
from metrics_server.sources.exporters.sheet import Sheet
from metrics_server.sources.pages.exposition import label_texts, parse_labels, rows
from tests.support.inventory import RATIO, UTIL, P, dcgm, values, written

SHARE = Reading(
    "DCGM_FI_DEV_FB_USED",
    0,
    10_000,
    scale=100,
    divided_by=("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE"),
)
DIES = Reading("gpu_gfx_busy_instantaneous", 1, 100, each=("xcc_index",))
ACTIVITY = Reading("gpu_gfx_activity", 0, 100, unless=DIES)
CLOCK = Reading("gpu_clock", 1, 9000, where=(("clock_type", "system"),), each=("clock_index",))


def amd(family: str, value: object, gpu: str = "0", **more: str) -> str:
    """A row from AMD's exporter, for the pod p."""
    labels = {
        "card_model": "c",
        "gpu_id": gpu,
        "gpu_partition_id": "0",
        "gpu_compute_partition_type": "spx",
        "namespace": "n",
        "pod": "p",
        **more,
    }
    return written(family, labels, value)


DEVICE = dcgm(UTIL.family, 91)


@pytest.mark.parametrize(
    ("page", "value"),
    [
        # Capped at the device's value, if no other reading has one.
        (DEVICE + dcgm(UTIL.family, 137, "p", vgpu="0"), 91),
        (DEVICE + dcgm(UTIL.family, 1601, "p", vgpu="0"), None),
        (dcgm(UTIL.family, 137, "p", vgpu="0"), None),
        (dcgm(UTIL.family, 0) + dcgm(UTIL.family, 137, "p", vgpu="0"), None),
        (
            DEVICE + dcgm(UTIL.family, 137, "p", vgpu="0") + dcgm(RATIO.family, 0.9, "p", vgpu="0"),
            90,
        ),
        # This shows that the others' zeros are real.
        (DEVICE + dcgm(UTIL.family, 0, "p", vgpu="0") + dcgm(UTIL.family, 137, "q", vgpu="1"), 0),
        # Only the per-process families have such sums.
        (dcgm("OTHER", 91) + dcgm("OTHER", 137, "p", vgpu="0"), None),
    ],
)
def test_sums_over_processes(page: str, value: float | None) -> None:
    """A value above the device's is capped at it."""
    assert values(page, UTIL, RATIO, Reading("OTHER", 0, 100)).get("p") == value


BY_PROCESS = (
    dcgm("DCGM_FI_DEV_FB_USED", 60)
    + dcgm("DCGM_FI_DEV_FB_USED", 10, "p", vgpu="0")
    + dcgm("DCGM_FI_DEV_FB_FREE", 20, "p", vgpu="0")
    + dcgm(UTIL.family, 91)
    + dcgm(UTIL.family, 0, "p", vgpu="0")
)


def test_a_device_that_lost_its_row() -> None:
    """The pods' own values are neither the device's value nor its share."""
    assert values(BY_PROCESS, SHARE) == {"p": 12.5}
    assert values(BY_PROCESS, UTIL) == {"p": 91}
    less = BY_PROCESS.replace(dcgm("DCGM_FI_DEV_FB_USED", 60), "")
    assert values(less, SHARE) == {}
    less = BY_PROCESS.replace(dcgm(UTIL.family, 91), "")
    assert values(less, UTIL) == {}
    # Without any row of the device it is an exporter that gives each pod the device's values.
    less = less.replace(dcgm("DCGM_FI_DEV_FB_USED", 60), "")
    assert values(less, UTIL) == {"p": 0}


def dies(*busy: float) -> str:
    """Rows for the dies of GPU 0."""
    return "".join(amd(DIES.family, value, xcc_index=str(i)) for i, value in enumerate(busy))


@pytest.mark.parametrize(
    ("page", "value"),
    [
        (amd(ACTIVITY.family, 0) + dies(100, 60), 80),
        (amd(ACTIVITY.family, 0) + dies(100, 0), 0),
        (amd(ACTIVITY.family, 0) + dies(0, 0), 0),
        (amd(ACTIVITY.family, 0), 0),
        (amd(ACTIVITY.family, 7) + dies(100, 60), 7),
        # Another GPU of this kind shows that a die is missing: it may be the idle one.
        (
            amd(ACTIVITY.family, 0)
            + dies(100)
            + amd(DIES.family, 1, "1", xcc_index="0")
            + amd(DIES.family, 1, "1", xcc_index="1"),
            None,
        ),
        (amd(ACTIVITY.family, 0) + amd(DIES.family, 100, xcc_index="1"), None),
    ],
)
def test_activity_that_the_dies_contradict(page: str, value: float | None) -> None:
    """A 0 is not idleness if every die is busy: their values replace it."""
    found = attribute(Sheet(page.encode()), (ACTIVITY, DIES))
    assert found.by_pod.get(P, {}).get("0/0") == value


@pytest.mark.parametrize(
    ("page", "value"),
    [
        (amd("gpu_clock", 2000, clock_type="system", clock_index="0"), 2000),
        # Another family has one more number.
        (
            amd("gpu_clock", 2000, clock_type="system", clock_index="0")
            + amd("gpu_max_clock", 2100, clock_type="system", clock_index="1"),
            None,
        ),
        (
            amd("gpu_clock", 2000, clock_type="system", clock_index="0")
            + amd("gpu_max_clock", 2100, clock_type="memory", clock_index="1"),
            2000,
        ),
    ],
)
def test_parts_that_other_rows_number(page: str, value: float | None) -> None:
    """A mean over some of them is not the GPU's."""
    assert values(page, CLOCK).get("p") == value


@pytest.mark.parametrize("family", ["gpu_free_vram", "gpu_memory_temperature", "pcie_bandwidth"])
def test_a_prefix_without_markers(family: str) -> None:
    """The family itself shows the prefix."""
    assert values(amd(f"amd_{family}", 5), Reading(family, 0, 10)) == {"p": 5}
    two = amd(f"amd_{family}", 5) + amd(f"other_{family}", 6)
    assert values(two, Reading(family, 0, 10)) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        "A{" + 'a="b",' * 300_000 + " 1\n",
        "{" * 1_000_000 + "\n",
        'A{"' * 300_000,
        "\n" * 1_000_000,
        'A{a="\\' * 300_000 + "\n",
    ],
    ids=["labels", "braces", "quotes", "lines", "escapes"],
)
def test_an_inventory_is_linear_in_the_page(page: str) -> None:
    """Time is linear for any content."""
    assert seconds(page) < 15


@pytest.mark.slow
@pytest.mark.parametrize(
    "row",
    [
        lambda i: amd("A", 1, str(i), xcc_index=str(i)),
        lambda i: dcgm("A", 1, f"p{i}", vgpu=str(i)),
    ],
    ids=["parts", "shares"],
)
def test_an_inventory_is_linear_in_the_parts(row: Callable[[int], str]) -> None:
    """A page with many parts takes no longer than that many rows."""
    rows = [row(i) for i in range(20_000)]

    # Linear is 40 times as long, and quadratic 1,600 times; the margin is for garbage collection.
    assert seconds("".join(rows)) < 100 * min(seconds("".join(rows[:500])) for _ in range(3))


def seconds(page: str) -> float:
    """The CPU seconds for a page's inventory, parts and values."""
    began = time.thread_time()
    sheet = Sheet(page.encode())
    assert sheet.inventory.wholes is not None
    sheet.parts(DIES)
    attribute(sheet, (Reading("A", 0, 100, each=("xcc_index",)), Reading("A", 2, 100)))
    return time.thread_time() - began


LINES = st.lists(
    st.one_of(
        st.builds(dcgm, st.just("A"), st.sampled_from([1, "x"]), st.sampled_from(["", "p"])),
        st.text(alphabet='A{}="\\, \n#p1', max_size=30).map(lambda text: f"{text}\n"),
    ),
    max_size=8,
)


@settings(deadline=None)
@given(LINES)
def test_every_row_that_can_be_read_is_in_the_inventory(lines: list[str]) -> None:
    """Every row with a value is known."""
    page = "".join(lines).encode()
    assert {row.labels for row in rows(page, "A")} - {""} <= label_texts(page)


def test_a_label_that_a_page_lacks_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A label is looked up for each pod of an HPA; a page of 25,000 rows takes long to parse."""
    parsed: list[str] = []

    def counted(text: str) -> Mapping[str, str | None]:
        parsed.append(text)
        return parse_labels(text)

    page = "\n".join(dcgm(UTIL.family, 1, UUID=f"GPU-{gpu}", pod="p") for gpu in range(9)) + "\n"
    sheet = Sheet(page.encode())
    assert len(sheet.gpu_rows()) == 9
    monkeypatch.setattr(inventory, "parse_labels", counted)
    assert not sheet.label("absent").is_known
    assert parsed == []
    # Part of another label's name.
    assert not sheet.label("UUI").is_known
    assert not sheet.label("UUI").is_known
    assert len(parsed) == 9
    assert sheet.label("UUID").is_known
    assert sheet.label("UUID") is sheet.label("UUID")
