"""The chart's rights for a few namespaces are sufficient and minimal."""

from pathlib import Path

import pytest

from metrics_server.simulator.kube.objects import Object
from tests.deployments.chart import render, values
from tests.deployments.manifests import NAMESPACE, SERVER
from tests.deployments.rbac import Grant, grants
from tests.deployments.test_rbac import METRIC, OBJECT_METRICS, PODS_METRIC, deployed
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow

ACCOUNT: Object = {"kind": "ServiceAccount", "name": SERVER, "namespace": NAMESPACE}
IN_NAMESPACE = f"--namespace={NAMESPACE}"


async def test_a_server_of_one_namespace_works_with_them(tmp_path: Path) -> None:
    """It is ready and answers, is denied nothing, and needs each of them."""
    objects = render(IN_NAMESPACE, "--set=config.pods.namespaces={default}")
    granted = list(grants(objects, ACCOUNT))
    settings = "pods: {namespaces: [default]}\n"
    async with deployed(granted, tmp_path, settings=settings) as server:

        async def answer() -> str:
            return await server.ask(METRIC)

        told = await eventually(answer, lambda text: text.startswith("200"))
        assert '"value":"50"' in told
        for path in (PODS_METRIC, *OBJECT_METRICS):
            await server.ask(path)
        assert await server.ask("/readyz") == "200 ok"

        async def unused() -> set[Grant]:
            await server.lose_and_regain()
            return set(granted) - server.access.used

        await eventually(unused, lambda left: not left)
        assert server.access.refused == set()


def test_rights_in_few_namespaces() -> None:
    """With pods.namespaces, pods, HPAs and exporters elsewhere may not be read."""
    granted = list(grants(render(IN_NAMESPACE, *values("few-namespaces")), ACCOUNT))
    where: dict[str, set[str]] = {}
    for one in granted:
        where.setdefault(one.resource, set()).add(one.namespace)
    models = {"models", "batch"}
    for resource in ("pods", "horizontalpodautoscalers", "deployments", "jobs", "services"):
        assert where[resource] == models
    assert where["endpointslices"] == {NAMESPACE}
    assert where["events"] == {"default", *models}
    everywhere = {one.resource for one in granted if one.namespace == ""}
    assert everywhere == {"tokenreviews", "subjectaccessreviews", "apiservices"}


def test_no_right_that_is_not_used() -> None:
    """Without discovery no EndpointSlices; without warnings no HPAs, and then no events."""
    urls = {
        one.resource for one in grants(render(IN_NAMESPACE, *values("exporters-by-url")), ACCOUNT)
    }
    assert "endpointslices" not in urls
    arguments = (IN_NAMESPACE, *values("minimal", "cert-manager"))
    quiet = {one.resource for one in grants(render(*arguments), ACCOUNT)}
    assert not quiet & {"horizontalpodautoscalers", "events", "secrets", "apiservices"}
