"""Exporters described by a user: from the configuration file to the value."""

from pathlib import Path

import pytest

from metrics_server.config.dialects import dialects_in_force
from metrics_server.config.file import load_config
from metrics_server.config.sections import Config
from metrics_server.errors import ConfigurationError
from metrics_server.rules.dialect import Dialect
from metrics_server.rules.presets import DIALECTS
from tests.support import harness, objects

ACME = {
    "name": "acme",
    "gpu": ["card", "tile"],
    "labels": ["serial"],
    "pod": "owner",
    "namespace": "owner_namespace",
    "hosts": ["machine"],
    "stems": ["acme_"],
}
RULE = {"name": "load", "unit": "percent", "readings": [{"family": "acme_load", "maximum": 100}]}


def test_a_configured_dialect_is_tried_before_the_built_in_ones() -> None:
    """A dialect has the settings from the file, and defaults for the rest."""
    config = Config.model_validate({"dialects": [ACME, {"name": "bare", "gpu": ["id"]}]})
    acme, bare, *others = dialects_in_force(config.dialects)
    assert acme == Dialect(
        name="acme",
        marks=("card", "serial"),
        gpu=("card", "tile"),
        namespace="owner_namespace",
        pod="owner",
        hosts=("machine",),
        stems=("acme_",),
    )
    assert bare == Dialect(name="bare", marks=("id",), gpu=("id",))
    assert tuple(others) == DIALECTS
    assert dialects_in_force(()) is DIALECTS


def test_a_built_in_dialect_is_replaced_by_name() -> None:
    """A file can correct a preset that does not fit an exporter's release."""
    config = Config.model_validate({"dialects": [{"name": "hami", "gpu": ["uuid2"]}]})
    names = [one.name for one in dialects_in_force(config.dialects)]
    assert sorted(names) == sorted(one.name for one in DIALECTS)
    assert names[0] == "hami"


@pytest.mark.parametrize(
    ("dialect", "problem"),
    [
        ("{name: a}", "dialects.0.gpu: is required"),
        ("{name: a, gpu: []}", "dialects.0.gpu: Tuple should have at least 1 item"),
        ("{name: A b, gpu: [x]}", '"A b" is not a dialect name'),
        ("{name: a, gpu: [x-y]}", 'dialects.0.gpu.0: "x-y" is not a label name'),
        ("{name: a, gpu: [x], stems: ['1_']}", '"1_" cannot be the beginning of a family'),
        ("{name: a, gpu: [pod]}", 'the label "pod" can be only one of the GPU, the pod and the'),
        ("{name: a, gpu: [x], namespace: pod}", 'the label "pod" can be only one of the GPU'),
        ("{name: a, gpu: [x], zone: [h]}", "unknown setting; the settings here are: name, gpu"),
        ("{name: a, gpu: [x]}, {name: a, gpu: [y]}", 'dialects: two dialects are named "a"'),
    ],
)
def test_what_is_wrong_is_reported(tmp_path: Path, dialect: str, problem: str) -> None:
    """Each message names the setting and what it must be."""
    path = tmp_path / "config.yaml"
    path.write_text(f"dialects: [{dialect}]\n")
    with pytest.raises(ConfigurationError) as raised:
        load_config(path)
    assert problem in str(raised.value)


def row(family: str, value: object, **labels: str) -> str:
    """A row of a page."""
    text = ",".join(f'{name}="{label}"' for name, label in labels.items())
    return f"{family}{{{text}}} {value}\n"


async def load(page: str, gpus: int = 1) -> str:
    """A whole server's answer for the pod `a` with that page."""
    config = harness.configuration({"dialects": [ACME], "rules": [RULE]})
    async with harness.cluster({"gpu-0": page}, [objects.pod("a", gpus=gpus)], config) as simulated:
        answer = await simulated.client.metric("default", "load", "app=inference")
        return answer.item().value if answer.status == 200 else answer.error().message


async def test_an_exporter_that_only_the_file_knows() -> None:
    """GPU, pod and node come from its own labels, with a prefix and timestamps."""
    labels = {"serial": "s", "owner": "a", "owner_namespace": "default", "machine": "gpu-0"}
    page = row("my_acme_load", "40 1790000000000", card="0", tile="0", **labels)
    page += row("my_acme_load", 60, card="0", tile="1", **labels)
    # GPUs with DCGM's labels are also read, and a row without all marks is not a GPU's.
    page += row("my_acme_load", 99, card="7", owner="a", owner_namespace="default")
    assert await load(page, gpus=2) == "50"


async def test_the_files_dialect_is_preferred() -> None:
    """A row with the labels of two dialects is read with the one in the file."""
    both = {"gpu": "0", "UUID": "GPU-1", "namespace": "default", "pod": "exporter"}
    page = row("acme_load", 30, card="0", serial="s", owner="a", owner_namespace="default", **both)
    assert await load(page) == "30"


@pytest.mark.parametrize("missing", ["a row", "a value", "a whole GPU"])
async def test_a_gpu_that_is_left_out_is_missed(missing: str) -> None:
    """A pod's set of GPUs comes from the whole page and its request, in any dialect."""
    labels = {"serial": "s", "owner": "a", "owner_namespace": "default"}
    page = row("acme_load", 40, card="0", **labels)
    if missing == "a value":
        page += row("acme_load", "ERROR - FAILED", card="1", **labels)
    elif missing == "a row":
        page += row("acme_power", 300, card="1", **labels)
    assert "gave no value for pod a" in await load(page, gpus=2)
