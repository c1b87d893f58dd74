"""Lists of the simulated Kubernetes API: pages, versions and field selectors."""

import pytest
from aiohttp import ClientSession

from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import PODS
from tests.support.api_answers import PODS_PATH, get, listed


async def test_a_page_expires_with_its_history(api: KubernetesAPI, session: ClientSession) -> None:
    """A token with a forgotten version is 410 Expired, rather than a guess at the rest."""
    page = await listed(session, PODS_PATH, limit="3")
    api.apply(PODS, {"metadata": {"name": "aaa"}})
    api.faults.expire_versions()
    answer = await get(
        session, PODS_PATH, limit="3", **{"continue": str(page.metadata["continue"])}
    )
    assert (answer.status, answer.body["reason"], answer.body["code"]) == (410, "Expired", 410)


async def test_pages_are_of_one_moment(api: KubernetesAPI, session: ClientSession) -> None:
    """Changes after the first page are not in later pages."""
    everything = await listed(session, PODS_PATH)
    page = await listed(session, PODS_PATH, limit="1")
    api.apply(PODS, {"metadata": {"name": "zzz"}})
    api.delete(PODS, "default", everything.names()[-1])
    api.delete(PODS, "default", everything.names()[0])
    rest = await listed(session, PODS_PATH, **{"continue": str(page.metadata["continue"])})
    assert rest.items == everything.items[1:]
    assert rest.metadata["resourceVersion"] == page.metadata["resourceVersion"]


async def test_a_list_at_version_0_heeds_no_limit(session: ClientSession) -> None:
    """It comes whole, as from an API server's watch cache."""
    page = await listed(session, PODS_PATH, limit="3", resourceVersion="0")
    assert len(page.items) == 6
    assert "continue" not in page.metadata


async def test_a_token_and_a_version_exclude_each_other(session: ClientSession) -> None:
    """Sending both is an error, as with a real API server."""
    page = await listed(session, PODS_PATH, limit="3")
    token = str(page.metadata["continue"])
    answer = await get(session, PODS_PATH, resourceVersion="5", **{"continue": token})
    assert answer.status == 400
    assert answer.body["message"] == (
        "specifying resource version is not allowed when using continue"
    )


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("metadata.name=gpu-node-1", ["gpu-node-1"]),
        ("metadata.name==gpu-node-1", ["gpu-node-1"]),
        ("metadata.name!=gpu-node-1", ["gpu-node-0", "gpu-node-2"]),
        ("metadata.name!=gpu-node-1,metadata.name!=gpu-node-2", ["gpu-node-0"]),
    ],
)
async def test_field_selectors_select(
    session: ClientSession, selector: str, names: list[str]
) -> None:
    """Objects can be selected by name, as kubectl does to watch one."""
    assert (await listed(session, "/api/v1/nodes", fieldSelector=selector)).names() == names


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("spec.foo=a", "field label not supported: spec.foo"),
        ("nonsense", "invalid selector: 'nonsense'; can't understand 'nonsense'"),
    ],
)
async def test_other_field_selectors_are_refused(
    session: ClientSession, selector: str, message: str
) -> None:
    """An unsupported selector is an error, and does not select everything."""
    answer = await get(session, PODS_PATH, fieldSelector=selector)
    assert (answer.status, answer.body["message"]) == (400, message)
