"""The GPUs on a page, from all of its rows; and what makes a value acceptable."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_server.rules.model import Reading
from metrics_server.sources.exporters.inventory import Holding
from metrics_server.sources.exporters.pod_mapper import attribute
from metrics_server.sources.exporters.sheet import Sheet
from metrics_server.sources.pages.exposition import label_texts, rows

P, Q = ("n", "p"), ("n", "q")
UTIL = Reading("DCGM_FI_DEV_GPU_UTIL", 0, 100)
RATIO = Reading("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0, 1.01, scale=100)
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


def written(family: str, labels: dict[str, str], value: object) -> str:
    """A row of a page."""
    text = ",".join(f'{name}="{label}"' for name, label in labels.items())
    return f"{family}{{{text}}} {value}\n"


def dcgm(family: str, value: object, pod: str = "", **more: str) -> str:
    """A row of GPU 0 of dcgm-exporter, of a pod in the namespace n if one is named."""
    named = {"namespace": "n", "pod": pod} if pod else {}
    labels = {"gpu": "0", "UUID": "GPU-0", **named, **more}
    return written(family, labels, value)


def amd(family: str, value: object, gpu: str = "0", **more: str) -> str:
    """A row of AMD's exporter, of the pod p."""
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


def values(page: str, *readings: Reading) -> dict[str, float]:
    """The value of the first GPU of each pod."""
    by_pod = attribute(Sheet(page.encode()), readings).by_pod
    return {pod: gpus[min(gpus)] for (_, pod), gpus in by_pod.items()}


@pytest.mark.parametrize(
    "row",
    [
        dcgm("ANY", 1, "p"),
        dcgm("ANY", "ERROR - FAILED TO CONVERT TO STRING", "p"),
        dcgm("ANY", "{} }", "p"),
        dcgm("ANY", "NaN", "p"),
        "  " + dcgm("ANY", "1 1790000000000", "p").replace("{", " { "),
        dcgm("ANY", 1, "p", label='\\"}{'),
        dcgm("ANY", "", "p"),
    ],
)
def test_a_row_of_any_family_names_a_gpu(row: str) -> None:
    """With a value, with a text for one, or with none."""
    inventory = Sheet(row.encode()).inventory
    assert inventory.by_pod == {P: Holding({"GPU-0": 1}, shared=False)}
    assert inventory.pods == {"GPU-0": frozenset({P})}
    assert not inventory.devices
    assert inventory.free == 0


@pytest.mark.parametrize(
    "row",
    ["# " + dcgm("ANY", 1, "p"), "ANY 1\n", dcgm("ANY", 1, "p").replace('"0"', "0"), 'A{gpu="0"\n'],
)
def test_what_is_not_a_gpu_row_names_no_gpu(row: str) -> None:
    """A comment, a row without labels, and labels that cannot be read exactly."""
    assert Sheet(row.encode()).inventory.by_pod == {}


def test_what_a_pod_has() -> None:
    """Units count as a request does; sharing and GPUs without a pod are known."""
    mig = {"GPU_I_ID": "1", "GPU_I_PROFILE": "3g.40gb"}
    page = dcgm("A", 1) + dcgm("A", 1, "p", vgpu="0") + dcgm("B", 1, "p", vgpu="1")
    page += dcgm("A", 1, "q", vgpu="2")
    page += dcgm("A", 1, "r", UUID="GPU-1", GPU_CI_ID="0", **mig)
    page += dcgm("B", 1, "r", UUID="GPU-1", GPU_CI_ID="1", **mig)
    page += dcgm("C", 1, "r", UUID="GPU-1", **mig) + dcgm("D", 1, "r", UUID="GPU-1")
    page += dcgm("A", 1, "s", UUID="GPU-2", GPU_CI_ID="0", **mig)
    page += dcgm("A", 1, "t", UUID="GPU-2", GPU_CI_ID="1", **mig)
    page += dcgm("A", 1, UUID="GPU-3")
    inventory = Sheet(page.encode()).inventory
    assert inventory.by_pod == {
        P: Holding({"GPU-0": 2}, shared=True),
        Q: Holding({"GPU-0": 1}, shared=True),
        # What is said of the whole GPU makes it no second one.
        ("n", "r"): Holding({"GPU-1/1": 2}, shared=False),
        # Two compute instances of one instance are not shared.
        ("n", "s"): Holding({"GPU-2/1": 1}, shared=False),
        ("n", "t"): Holding({"GPU-2/1": 1}, shared=False),
    }
    assert inventory.devices == {"GPU-0", "GPU-3"}
    assert inventory.free == 1


CI0 = {"GPU_I_ID": "1", "GPU_I_PROFILE": "3g.40gb", "GPU_CI_ID": "0"}
CI1 = {**CI0, "GPU_CI_ID": "1"}
INSTANCE = {**CI0, "GPU_CI_ID": ""}


@pytest.mark.parametrize(
    ("page", "value"),
    [
        (dcgm(RATIO.family, 0.9, "p", **CI0) + dcgm(RATIO.family, 0.3, "p", **CI1), 60),
        (dcgm(RATIO.family, 0.9, "p", **CI0) + dcgm(RATIO.family, 0.3, "q", **CI1), 90),
        # A part that another family names has no value, or none that is believed.
        (dcgm(RATIO.family, 0.9, "p", **CI0) + dcgm("ANY", 1, "p", **CI1), None),
        (dcgm(RATIO.family, 0.9, "p", **CI0) + dcgm(RATIO.family, "text", "p", **CI1), None),
        (dcgm(RATIO.family, 0.9, "p", **CI0) + dcgm(RATIO.family, 5, "p", **CI1), None),
        # What is said of the instance holds for its parts, unless they say it themselves.
        (dcgm(RATIO.family, 0.4, "p", **INSTANCE) + dcgm("ANY", 1, "p", **CI1), 40),
        (dcgm(RATIO.family, 0.4, "p", **INSTANCE) + dcgm(RATIO.family, 0.9, "p", **CI0), 90),
    ],
)
def test_compute_instances(page: str, value: float | None) -> None:
    """A pod's value is of all compute instances that it has."""
    found = values(page, RATIO)
    assert found.get("p") == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("page", "value"),
    [
        # Above 1 is real on an instance, as far as it has been seen, and nowhere else.
        (dcgm(RATIO.family, 1.294, "p", **INSTANCE), 100),
        (dcgm(RATIO.family, 2.1, "p", **INSTANCE), None),
        (dcgm(RATIO.family, 1.294, "p"), None),
        (dcgm(RATIO.family, 1.294, "p", GPU_I_ID="a label of the pod"), None),
        (dcgm(UTIL.family, 129, "p", **INSTANCE), None),
    ],
)
def test_ratios_of_instances(page: str, value: float | None) -> None:
    """They are capped at 1."""
    assert values(page, UTIL, RATIO).get("p") == value


DEVICE = dcgm(UTIL.family, 91)


@pytest.mark.parametrize(
    ("page", "value"),
    [
        # Capped at the device, where no other reading has a value.
        (DEVICE + dcgm(UTIL.family, 137, "p", vgpu="0"), 91),
        (DEVICE + dcgm(UTIL.family, 1601, "p", vgpu="0"), None),
        (dcgm(UTIL.family, 137, "p", vgpu="0"), None),
        (dcgm(UTIL.family, 0) + dcgm(UTIL.family, 137, "p", vgpu="0"), None),
        (
            DEVICE + dcgm(UTIL.family, 137, "p", vgpu="0") + dcgm(RATIO.family, 0.9, "p", vgpu="0"),
            90,
        ),
        # It shows that the zeros of others are real.
        (DEVICE + dcgm(UTIL.family, 0, "p", vgpu="0") + dcgm(UTIL.family, 137, "q", vgpu="1"), 0),
        # Only the families that are by process have such sums.
        (dcgm("OTHER", 91) + dcgm("OTHER", 137, "p", vgpu="0"), None),
    ],
)
def test_sums_over_processes(page: str, value: float | None) -> None:
    """What is above the device is as much as the device."""
    assert values(page, UTIL, RATIO, Reading("OTHER", 0, 100)).get("p") == value


BY_PROCESS = (
    dcgm("DCGM_FI_DEV_FB_USED", 60)
    + dcgm("DCGM_FI_DEV_FB_USED", 10, "p", vgpu="0")
    + dcgm("DCGM_FI_DEV_FB_FREE", 20, "p", vgpu="0")
    + dcgm(UTIL.family, 91)
    + dcgm(UTIL.family, 0, "p", vgpu="0")
)


def test_a_device_that_lost_its_row() -> None:
    """Its pods' own figures are neither its figure nor its share."""
    assert values(BY_PROCESS, SHARE) == {"p": 12.5}
    assert values(BY_PROCESS, UTIL) == {"p": 91}
    less = BY_PROCESS.replace(dcgm("DCGM_FI_DEV_FB_USED", 60), "")
    assert values(less, SHARE) == {}
    less = BY_PROCESS.replace(dcgm(UTIL.family, 91), "")
    assert values(less, UTIL) == {}
    # Without any row of the device it is an exporter that gives each pod the device's figures.
    less = less.replace(dcgm("DCGM_FI_DEV_FB_USED", 60), "")
    assert values(less, UTIL) == {"p": 0}


def dies(*busy: float) -> str:
    """Rows of the dies of GPU 0."""
    return "".join(amd(DIES.family, value, xcc_index=str(i)) for i, value in enumerate(busy))


@pytest.mark.parametrize(
    ("page", "value"),
    [
        (amd(ACTIVITY.family, 0) + dies(100, 60), 80),
        (amd(ACTIVITY.family, 0) + dies(100, 0), 0),
        (amd(ACTIVITY.family, 0) + dies(0, 0), 0),
        (amd(ACTIVITY.family, 0), 0),
        (amd(ACTIVITY.family, 7) + dies(100, 60), 7),
        # Another GPU of its kind shows that a die is missing: it may be the idle one.
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
    """A 0 is not idleness while every die is busy: what the dies say stands in."""
    found = attribute(Sheet(page.encode()), (ACTIVITY, DIES))
    assert found.by_pod.get(P, {}).get("0/0") == value


@pytest.mark.parametrize(
    ("page", "value"),
    [
        (amd("gpu_clock", 2000, clock_type="system", clock_index="0"), 2000),
        # Another family numbers one more.
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
    """The family that is read shows the prefix itself."""
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
        "".join(amd("A", 1, str(i), xcc_index=str(i)) for i in range(25_000)),
        "".join(dcgm("A", 1, f"p{i}", vgpu=str(i)) for i in range(25_000)),
    ],
    ids=["labels", "braces", "quotes", "lines", "escapes", "parts", "shares"],
)
def test_an_inventory_is_linear_in_the_page(page: str) -> None:
    """Whatever is on it, and however many of each thing."""
    began = time.process_time()
    sheet = Sheet(page.encode())
    assert sheet.inventory.wholes is not None
    sheet.parts(DIES)
    attribute(sheet, (Reading("A", 0, 100, each=("xcc_index",)), Reading("A", 2, 100)))
    assert time.process_time() - began < 5


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
    """What has a value is known to be there."""
    page = "".join(lines).encode()
    assert {row.labels for row in rows(page, "A")} - {""} <= label_texts(page)
