"""Requests that are rejected, each with a Status."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from metrics_server.api.types import GROUP_VERSION
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.serving import SERVING
from tests.support.clients import Client
from tests.support.external_metrics import METRIC, PATH, nothing_bad_in_the_log
from tests.support.harness import Cluster


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=x", 'limit is "x": it must be a whole number'),
        ("limit=1.5", 'limit is "1.5": it must be a whole number'),
        ("limit=%00", 'limit is "\\x00": it must be a whole number'),
        ("timeoutSeconds=5s", 'timeoutSeconds is "5s": it must be a whole number'),
        ("limit=" + "9" * 30, 'limit is "' + "9" * 30 + '": it must be a whole number'),
        (
            "labelSelector=app%3D%3D%3Dx",
            "unable to parse requirement: found '=', expected: identifier",
        ),
        (
            "labelSelector=app+in+x",
            "unable to parse requirement: found 'x' expected: '('",
        ),
        ("labelSelector=,", "found ',', expected: !, identifier, or 'end of string'"),
        ("labelSelector=%00", "unable to parse requirement: <nil>: Invalid value: "),
        ("labelSelector=%FF", "the query is not form-encoded UTF-8: "),
        ("labelSelector=%ED%A0%80", "the query is not form-encoded UTF-8: "),
        (
            "labelSelector=app+in+(" + "x," * 4400 + "x)",
            "the label selector has 8810 characters, but at most 8192 are allowed: ",
        ),
        (
            "fieldSelector=status.phase%3DRunning",
            (
                'fieldSelector: "status.phase" is not supported: select pods by their labels, '
                "with labelSelector"
            ),
        ),
        # If these were ignored, the answer would be the mean of all pods.
        *(
            (
                f"labelSelector=app%3Dinference&fieldSelector={asked}",
                (
                    f'fieldSelector: "{shown}" cannot select a pod: an answer is one number for '
                    "all pods whose labels match. Ask for one pod by a label that only it has, "
                    "such as labelSelector=statefulset.kubernetes.io/pod-name=NAME for a "
                    "StatefulSet's"
                ),
            )
            for asked, shown in (
                ("metadata.name%3Da", "metadata.name=a"),
                ("metadata.name%3D%3Da", "metadata.name==a"),
                ("metadata.name%21%3Da", "metadata.name!=a"),
                ("metadata.namespace%3Ddefault,metadata.name%3Da", "metadata.name=a"),
            )
        ),
        *(
            (
                f"fieldSelector={asked}",
                f'fieldSelector: "{shown}" is not the namespace of the path, "default"',
            )
            for asked, shown in (
                ("metadata.namespace%3Dother", "metadata.namespace=other"),
                ("metadata.namespace%21%3Ddefault", "metadata.namespace!=default"),
                ("metadata.namespace%3D", "metadata.namespace="),
            )
        ),
        ("fieldSelector=x", 'fieldSelector: "x" does not have the form name=value'),
    ],
)
async def test_a_malformed_query(
    client: Client, caplog: pytest.LogCaptureFixture, query: str, message: str
) -> None:
    """A query that cannot be understood is 400 with an explanation, never misread."""
    with nothing_bad_in_the_log(caplog):
        status = (await client.ask(f"{METRIC}?{query}")).error()
    assert (status.code, status.reason) == (400, "BadRequest")
    assert status.message.startswith(message)


@pytest.mark.parametrize("query", ["watch=true", "watch=1", "watch", "watch=T&limit=x"])
async def test_a_watch_is_refused_at_once(client: Client, simulated: Cluster, query: str) -> None:
    """A watch is 405 without scraping first, even if exporters never answer."""
    simulated.exporters["gpu-0"].may_answer.clear()
    status = (await client.ask(f"{METRIC}?{query}")).error()
    assert (status.code, status.reason) == (405, "MethodNotAllowed")
    assert status.message.startswith("watch is not supported on resources of kind gpu_utilization")
    assert simulated.exporters["gpu-0"].scrapes == 0


@pytest.mark.parametrize("namespace", ["%FF", "%C3%28"])
async def test_a_path_that_is_not_utf8(client: Client, namespace: str) -> None:
    """A part of the path that is not UTF-8 is 400, and is quoted as it was sent."""
    for path in (f"{namespace}/gpu_utilization", f"default/{namespace}"):
        status = (await client.ask(f"/apis/{GROUP_VERSION}/namespaces/{path}")).error()
        assert (status.code, status.message) == (400, f'"{namespace}" is not UTF-8')


@pytest.mark.parametrize(
    "name", ["cpu", "gpu_utilization%00", "gpu utilization", "%F0%9F%98%80", "."]
)
async def test_an_unknown_metric(client: Client, name: str) -> None:
    """It is 404, and the message lists the metrics, as far as there is room."""
    status = (await client.ask(f"{PATH}/{name.replace(' ', '%20')}")).error()
    assert (status.code, status.reason) == (404, "NotFound")
    assert status.message.startswith('there is no metric "')
    listed = status.message.partition("served here are: ")[2].partition(";")[0]
    names, _, more = listed.partition(" and ")
    known = names.split(", ")
    every = sorted(
        rule.name for rule in (*CATALOGUE, *SERVING) if not rule.name.endswith(("_sum", "_max"))
    )
    assert known == every[: len(known)]
    assert more == f"{len(every) - len(known)} more"
    assert status.message.isprintable()


@pytest.mark.slow
async def test_unknown_names_do_not_grow_the_registry(client: Client) -> None:
    """Made-up names add no series to the server's own metrics."""

    async def series() -> set[str]:
        text = (await client.ask("/metrics")).text
        families = text_string_to_metric_families(text)
        return {f"{s.name}{s.labels}" for family in families for s in family.samples}

    await client.ask(f"{PATH}/made-up-0")
    before = await series()
    for number in range(1, 20):
        (await client.ask(f"{PATH}/made-up-{number}")).error()
        (await client.ask(f"{PATH}/made-up-{number}/x")).error()
    assert await series() == before
    assert not [one for one in before if "made-up" in one]
