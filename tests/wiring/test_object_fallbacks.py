"""Events on HPAs with an Object metric, from a whole server in a simulated cluster."""

import pytest

from metrics_server.simulator.kube.objects import AUTOSCALERS, SERVICES, Json, Object
from tests.support.custom_metrics import QUICK, ask, failed
from tests.support.harness import cluster, configuration
from tests.support.objects import pod
from tests.support.waiting import until
from tests.wiring.test_advising import PAGES, events, hpa

_SERVICE: Object = {
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"selector": {"app": "inference"}},
}


def of_object(kind: str, name: str) -> Object:
    """An HPA with the name of the object that its metric describes."""
    made = hpa("gpu_utilization", {"type": "Value", "value": "70"}, name=name)
    spec = made["spec"]
    assert isinstance(spec, dict)
    source: Json = {
        "describedObject": {"kind": kind, "name": name},
        "metric": {"name": "gpu_utilization"},
        "target": {"type": "Value", "value": "70"},
    }
    spec["metrics"] = [{"type": "Object", "object": source}]
    return made


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("default/services/web/gpu_utilization", "web"),
        ("default/metrics/gpu_utilization", "default"),
    ],
)
async def test_an_object_that_owns_no_pods(path: str, name: str) -> None:
    """For a Service or a Namespace, only the HPA that asks through it gets the event."""
    async with cluster(PAGES, [pod("a")], configuration(QUICK)) as simulated:
        api = simulated.api
        api.apply(SERVICES, _SERVICE)
        for kind, described in (("Service", "web"), ("Namespace", "default"), ("Service", "gone")):
            api.apply(AUTOSCALERS, of_object(kind, described))
        assert (await ask(simulated.client, path)).status == 200
        assert (await failed(simulated, path)).status == 503
        await until(lambda: any(one.reason == "MeasurementFailed" for one in events(api)))
        found = [one for one in events(api) if one.reason == "MeasurementFailed"]
    assert [one.involved_object.name for one in found] == [name]
    assert found[0].message.startswith("Object metric gpu_utilization has no answer: 0 of 1 pods")
