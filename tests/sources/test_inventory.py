"""GPUs and their parts, found in the rows of any family."""

import pytest

from metrics_server.sources.exporters.inventory import Holding
from metrics_server.sources.exporters.sheet import Sheet
from tests.support.inventory import RATIO, UTIL, P, Q, dcgm, values


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
    """The row may have a value, text instead, or nothing."""
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
    """Units are counted as in a request; sharing and GPUs without a pod are known."""
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
        # A row of the whole GPU does not make it a second one.
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
        # A part named by another family has no value, or an invalid one.
        (dcgm(RATIO.family, 0.9, "p", **CI0) + dcgm("ANY", 1, "p", **CI1), None),
        (dcgm(RATIO.family, 0.9, "p", **CI0) + dcgm(RATIO.family, "text", "p", **CI1), None),
        (dcgm(RATIO.family, 0.9, "p", **CI0) + dcgm(RATIO.family, 5, "p", **CI1), None),
        # The instance's value is also its parts', unless they have their own.
        (dcgm(RATIO.family, 0.4, "p", **INSTANCE) + dcgm("ANY", 1, "p", **CI1), 40),
        (dcgm(RATIO.family, 0.4, "p", **INSTANCE) + dcgm(RATIO.family, 0.9, "p", **CI0), 90),
    ],
)
def test_compute_instances(page: str, value: float | None) -> None:
    """A pod's value covers all of its compute instances."""
    found = values(page, RATIO)
    assert found.get("p") == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("page", "value"),
    [
        # Above 1 is real on an instance, up to what has been observed, and nowhere else.
        (dcgm(RATIO.family, 1.294, "p", **INSTANCE), 100),
        (dcgm(RATIO.family, 2.1, "p", **INSTANCE), None),
        (dcgm(RATIO.family, 1.294, "p"), None),
        (dcgm(RATIO.family, 1.294, "p", GPU_I_ID="a label of the pod"), None),
        (dcgm(UTIL.family, 129, "p", **INSTANCE), None),
    ],
)
def test_ratios_of_instances(page: str, value: float | None) -> None:
    """Ratios of instances are capped at 1."""
    assert values(page, UTIL, RATIO).get("p") == value
