"""A whole server keeps up with its cluster."""

from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from metrics_server.simulator import manifests
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import ENDPOINT_SLICES, PODS
from metrics_server.tls.authority import Authority
from metrics_server.wiring.options import ServeOptions
from metrics_server.wiring.server import running
from tests.support.exporters import PageExporter, page
from tests.support.harness import client_of, cluster, configuration, write_kubeconfig
from tests.support.objects import pod
from tests.support.server import UTILIZATION, ask, has_value
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            403,
            (
                'pods is forbidden: User "system:serviceaccount:gpu-monitoring:gpu-metrics-server" '
                'cannot list resource "pods" in API group "" at the cluster scope'
            ),
        ),
        (500, "etcdserver: request timed out"),
    ],
)
async def test_readiness_waits_for_the_first_list(tmp_path: Path, code: int, message: str) -> None:
    """While the API refuses, /readyz quotes it; once it lists, the server is ready."""
    path, authority = tmp_path / "kubeconfig", tmp_path / "authority.crt"
    authority.write_bytes(Authority("any").bundle)
    # The trust is read from the API before anything else, unless flags give it.
    options = ServeOptions(
        kubeconfig=path,
        secure_port=0,
        client_ca_file=authority,
        requestheader_client_ca_file=authority,
    )
    async with AsyncExitStack() as apis:
        refusing = await apis.enter_async_context(KubernetesAPI())
        refusing.faults.refuse_next(code, message, times=1000)
        port = int(refusing.url.rpartition(":")[2])
        write_kubeconfig(path, refusing.url, b"")
        async with running(options, configuration()) as server, client_of(server) as client:
            refused = await eventually(
                lambda: client.ask("/readyz"), lambda answer: answer.text.count(message) == 2
            )
            assert refused.status == 500
            assert f"[-]pods-synced failed: {message}\n" in refused.text
            assert f"[-]endpointslices-synced failed: {message}\n" in refused.text
            # A restart would fix nothing.
            assert (await client.ask("/livez")).text == "ok"
            await apis.aclose()
            await apis.enter_async_context(KubernetesAPI(port=port))
            ready = await eventually(
                lambda: client.ask("/readyz"), lambda answer: answer.status == 200
            )
            assert ready.text == "ok"


async def test_the_cluster_is_followed() -> None:
    """A pod added, changed or removed in the Kubernetes API changes the next answer."""
    # The scraped page is used for long: only the pods change.
    config = configuration({"exporters": {"maxAge": "10m"}})
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("a")], config) as simulated:
        assert has_value("10", 1)(await ask(simulated))
        simulated.api.apply(PODS, pod("b"))
        await eventually(lambda: ask(simulated), has_value("20", 2))
        simulated.api.apply(PODS, pod("a", labels={"app": "training"}))
        await eventually(lambda: ask(simulated), has_value("30", 1))
        simulated.api.apply(PODS, pod("a"))
        simulated.api.apply(PODS, pod("b", ready=False))
        await eventually(lambda: ask(simulated), has_value("10", 1))
        simulated.api.apply(PODS, pod("b"))
        # A terminating pod counts for as long as it is Ready, as it does for the HPA.
        simulated.api.apply(PODS, pod("a", deleted=True))
        await eventually(lambda: ask(simulated), has_value("20", 2))
        simulated.api.apply(PODS, pod("a", deleted=True, ready=False))
        await eventually(lambda: ask(simulated), has_value("30", 1))
        for name in ("a", "b"):
            simulated.api.delete(PODS, "default", name)
        gone = await eventually(lambda: ask(simulated), lambda answer: answer.status == 404)
        assert gone.error().message.startswith("no pods in namespace")


async def test_a_watch_that_breaks_is_taken_up_again() -> None:
    """Changes while no watch was open are known afterwards; the server stays ready."""
    async with cluster({"gpu-0": page(UTILIZATION)}, [pod("a")]) as simulated:
        simulated.api.faults.drop_watches()
        simulated.api.apply(PODS, pod("b"))
        await eventually(lambda: ask(simulated), has_value("20", 2))
        assert (await simulated.client.ask("/readyz")).text == "ok"


async def test_exporters_are_found_by_their_endpoint_slices() -> None:
    """An exporter is used only while its Service's EndpointSlice lists it."""
    config = configuration({"exporters": {"maxAge": "20ms"}})
    async with (
        PageExporter(page(UTILIZATION)) as exporter,
        PageExporter(page({("default", "a"): [99]})) as foreign,
        cluster({}, [pod("a")], config) as simulated,
    ):
        assert "no exporter is ready on node gpu-0" in (await ask(simulated)).error().message
        of_another_service = manifests.endpoint_slice("gpu-0", foreign.port)
        of_another_service["metadata"] = {
            "name": "web-1",
            "namespace": "web",
            "labels": {"kubernetes.io/service-name": manifests.EXPORTER_SERVICE},
        }
        simulated.api.apply(ENDPOINT_SLICES, of_another_service)
        made = simulated.api.apply(
            ENDPOINT_SLICES, manifests.endpoint_slice("gpu-0", exporter.port)
        )
        await eventually(lambda: ask(simulated), has_value("10", 1))
        assert foreign.scrapes == 0
        name = msgspec.convert(made["metadata"], dict[str, object])["name"]
        simulated.api.delete(ENDPOINT_SLICES, manifests.EXPORTER_NAMESPACE, str(name))
        # The last measurement holds until it is too old.
        await eventually(lambda: ask(simulated), lambda answer: answer.status == 503)


@pytest.mark.parametrize("by_flag", [True, False])
async def test_exporters_can_be_listed(*, by_flag: bool) -> None:
    """With --exporter or exporters.urls, nothing is discovered: all of them serve any node."""
    async with (
        PageExporter(page({("default", "a"): [10]})) as one,
        PageExporter(page({("default", "b"): [30]})) as other,
    ):
        urls = [one.url, other.url]
        config = configuration({} if by_flag else {"exporters": {"urls": urls}})
        pods = [pod("a", node="gpu-7"), pod("b", node="gpu-8")]
        async with cluster({}, pods, config, urls if by_flag else ()) as simulated:
            assert has_value("20", 2)(await ask(simulated))
            assert "endpointslices" not in simulated.server.synced
            asked = {url.path for url in simulated.api.requests}
            assert "/api/v1/pods" in asked
            assert not [path for path in asked if "endpointslices" in path]


async def test_only_the_configured_namespaces_are_watched() -> None:
    """With pods.namespaces a Role in each is enough; others are an error that says why."""
    config = configuration({"pods": {"namespaces": ["other", "more"]}})
    pods = [pod("a"), pod("a", namespace="other")]
    async with cluster({"gpu-0": page(UTILIZATION)}, pods, config) as simulated:
        assert has_value("90", 1)(await ask(simulated, "other"))
        refused = (await ask(simulated, "default")).error()
        assert (refused.code, refused.reason) == (404, "NotFound")
        assert refused.message == (
            'namespace "default" is not watched: it is not in the setting pods.namespaces '
            "of gpu-metrics-server"
        )
        paths = {url.path for url in simulated.api.requests if url.path.endswith("/pods")}
        assert paths == {"/api/v1/namespaces/other/pods", "/api/v1/namespaces/more/pods"}
