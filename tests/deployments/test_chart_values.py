"""Chart values that the schema and the templates reject."""

import json
from collections.abc import Iterator

import pytest
import yaml

from metrics_server.simulator.kube.objects import Json, Object
from tests.deployments.chart import CHART, refused, render
from tests.deployments.manifests import mapping
from tests.deployments.values_schema import SCHEMA, text

pytestmark = pytest.mark.slow

# Kubernetes objects that the API server validates, and a parent chart's values.
NOT_LISTED = {"nodeAffinity", "podAffinity", "podAntiAffinity", "extraVolumes", "global"}


# Helm reports all of them at once.
MISTAKES = {
    "--set=replica=3": "additional properties 'replica' not allowed",
    "--set=image.tags=1": "at '/image': additional properties 'tags' not allowed",
    "--set=image.digest=abc": "at '/image/digest'",
    "--set=exporters.preset=nvidia": "at '/exporters/preset'",
    "--set=certificates.mode=self": "at '/certificates/mode'",
    "--set=config.fallback.chian={error}": "additional properties 'chian' not allowed",
    "--set=config.exporters.timeout=2": "at '/config/exporters/timeout'",
    "--set=config.externalMetrics=false": "'externalMetrics' not allowed",
    "--set=resources.limit.memory=1Gi": "additional properties 'limit' not allowed",
    "--set=securityContext.readOnlyFilesystem=true": "'readOnlyFilesystem' not allowed",
    "--set=networkPolicy.apiServerPorts={0}": "at '/networkPolicy/apiServerPorts/0'",
    "--set=serviceMonitor.interval=often": "at '/serviceMonitor/interval'",
    '--set-json=extraArgs=["config"]': "at '/extraArgs/0'",
    "--set=podLabels.app\\.kubernetes\\.io/name=mine": "'app.kubernetes.io/name'",
    # A change to the configuration would not replace the pods.
    "--set=podAnnotations.gpu-metrics-server/configuration=x": "'gpu-metrics-server/conf",
    # In a NetworkPolicy, no peer means every address.
    "--set-json=networkPolicy.podPages.to=[]": "at '/networkPolicy/podPages/to'",
}


def test_a_mistake_is_refused_where_it_is() -> None:
    """For misspelled names and wrong types, Helm says where, and installs nothing."""
    error = refused(*MISTAKES)
    for argument, expected in MISTAKES.items():
        assert expected in error, argument


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set=namespace.create=true"], "cannot create the release's own namespace, default"),
        (["--set=apis.external=false,apis.custom=false"], "nothing would be served"),
        (["--set=exporters.preset=none"], "name your exporters in config.exporters.services"),
        (["--set=exporters.namespace=some"], "exporters.namespace is only for an operator's"),
        (
            ["--set=certificates.caBundle=-----BEGIN CERTIFICATE-----"],
            "certificates.caBundle is for certificates.mode own",
        ),
        (["--set=priorityClass.name="], "priorityClass.create is true, but"),
        # Helm removes null values, and hence their schema.
        (["--set=networkPolicy.apiServerPorts=null"], "networkPolicy.apiServerPorts is empty"),
        (["--set=networkPolicy.exporterPorts=null"], "networkPolicy.exporterPorts is empty"),
        (
            ["--set=networkPolicy.podPages.enabled=true", "--set=networkPolicy.podPages.to=null"],
            "networkPolicy.podPages.to is empty",
        ),
    ],
)
def test_values_that_contradict_each_other(arguments: list[str], expected: str) -> None:
    """Helm says what is wrong, and what to do."""
    assert expected in refused(*arguments)


def test_the_schema_knows_every_value_and_no_other() -> None:
    """The schema has each default; no object in it accepts unlisted names."""
    schema: Json = json.loads(SCHEMA.read_text(encoding="utf-8"))
    defaults: Json = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert mapping(schema, "properties").keys() - {"global", "enabled"} == mapping(defaults).keys()
    open_ones = {name for name, one in objects_of(schema, "") if "additionalProperties" not in one}
    assert open_ones <= NOT_LISTED, open_ones


def objects_of(schema: Json, name: str) -> Iterator[tuple[str, Object]]:
    """Every object schema in a schema, with its property."""
    match schema:
        case dict():
            if schema.get("type") == "object":
                yield name, schema
            for key, value in schema.items():
                yield from objects_of(value, name if key in {"items", "type"} else key)
        case list():
            for value in schema:
                yield from objects_of(value, name)
        case _:
            return


def test_the_schema_of_the_configuration_is_the_codes() -> None:
    """The chart accepts each setting of the server: `make docs` writes them."""
    assert SCHEMA.read_text(encoding="utf-8") == text()


def test_a_parent_chart_may_add_its_own() -> None:
    """What Helm adds for subcharts, and the values of conditions, are accepted."""
    assert render("--set=global.registry=some", "--set=enabled=true") == render()
