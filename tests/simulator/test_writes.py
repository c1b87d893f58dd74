from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession
from msgspec import Struct

from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import PODS, Object, metadata

SECRETS = "/api/v1/namespaces/ns/secrets"
API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
NAME = "v1beta1.external.metrics.k8s.io"
MERGE = {"Content-Type": "application/merge-patch+json"}


class Answer(Struct):
    """An HTTP answer."""

    status: int
    body: Object

    def version(self) -> str:
        """The returned object's resourceVersion."""
        return str(metadata(self.body)["resourceVersion"])


@pytest.fixture
async def api() -> AsyncIterator[KubernetesAPI]:
    """An API without objects."""
    async with KubernetesAPI() as running:
        yield running


@pytest.fixture
async def session(api: KubernetesAPI) -> AsyncIterator[ClientSession]:
    """A plain HTTP client for it."""
    async with ClientSession(api.url) as made:
        yield made


async def send(
    session: ClientSession, method: str, path: str, body: Object | None = None
) -> Answer:
    """The response to a request."""
    headers = MERGE if method == "PATCH" else {}
    async with session.request(method, path, json=body, headers=headers) as response:
        return Answer(response.status, await response.json())


def secret(**data: str) -> Object:
    """A Secret."""
    return {"metadata": {"name": "s"}, "data": {**data}}


def api_service(**spec: bool | str) -> Object:
    """An APIService."""
    return {"metadata": {"name": NAME}, "spec": {"group": "external.metrics.k8s.io", **spec}}


async def test_an_object_is_created_once(session: ClientSession) -> None:
    """The second attempt fails because it exists, in kube-apiserver's words."""
    made = await send(session, "POST", SECRETS, secret(a="eA=="))
    assert made.status == 201
    assert made.body["kind"] == "Secret"
    assert metadata(made.body)["namespace"] == "ns"
    assert (await send(session, "GET", f"{SECRETS}/s")).body == made.body
    again = await send(session, "POST", SECRETS, secret())
    assert again.status == 409
    assert again.body["reason"] == "AlreadyExists"
    assert again.body["message"] == 'secrets "s" already exists'
    assert again.body["details"] == {"name": "s", "kind": "secrets"}


async def test_an_update_needs_the_latest_version(session: ClientSession) -> None:
    """Updating an outdated version is a conflict, in kube-apiserver's words."""
    first = await send(session, "POST", SECRETS, secret(a="eA=="))
    changed: Object = {**first.body, "data": {"a": "eQ=="}}
    second = await send(session, "PUT", f"{SECRETS}/s", changed)
    assert second.status == 200
    assert second.version() != first.version()
    stale = await send(session, "PUT", f"{SECRETS}/s", first.body)
    assert stale.status == 409
    assert stale.body["reason"] == "Conflict"
    assert stale.body["message"] == (
        'Operation cannot be fulfilled on secrets "s": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert (await send(session, "GET", f"{SECRETS}/s")).body == second.body


async def test_an_update_that_changes_nothing_makes_no_version(session: ClientSession) -> None:
    """As in etcd, the version stays."""
    made = await send(session, "POST", SECRETS, secret(a="eA=="))
    assert (await send(session, "PUT", f"{SECRETS}/s", made.body)).version() == made.version()
    patched = await send(session, "PATCH", f"{SECRETS}/s", {"data": {"a": "eA=="}})
    assert patched.version() == made.version()


async def test_an_update_without_a_version(session: ClientSession) -> None:
    """This is allowed for a Secret, but not for an APIService."""
    await send(session, "POST", SECRETS, secret())
    assert (await send(session, "PUT", f"{SECRETS}/s", secret(a="eA=="))).status == 200
    await send(session, "POST", API_SERVICES, api_service())
    refused = await send(session, "PUT", f"{API_SERVICES}/{NAME}", api_service())
    assert (refused.status, refused.body["reason"]) == (422, "Invalid")
    assert "must be specified for an update" in str(refused.body["message"])


async def test_a_patch_is_merged(session: ClientSession) -> None:
    """Null removes, objects are merged, other values replace; the rest stays."""
    await send(session, "POST", API_SERVICES, api_service(insecureSkipTLSVerify=True))
    service: Object = {"a": None, "b": 1}
    patch: Object = {
        "spec": {"caBundle": "eA==", "insecureSkipTLSVerify": None, "service": service}
    }
    patched = await send(session, "PATCH", f"{API_SERVICES}/{NAME}", patch)
    assert patched.status == 200
    assert patched.body["spec"] == {
        "group": "external.metrics.k8s.io",
        "caBundle": "eA==",
        "service": {"b": 1},
    }
    assert (await send(session, "GET", f"{API_SERVICES}/{NAME}")).body == patched.body


async def test_a_patch_can_ask_for_a_version(session: ClientSession) -> None:
    """With a resourceVersion, it applies only to that."""
    made = await send(session, "POST", API_SERVICES, api_service())
    patch: Object = {"metadata": {"resourceVersion": made.version()}, "spec": {"caBundle": "eA=="}}
    assert (await send(session, "PATCH", f"{API_SERVICES}/{NAME}", patch)).status == 200
    stale = await send(session, "PATCH", f"{API_SERVICES}/{NAME}", patch)
    assert (stale.status, stale.body["reason"]) == (409, "Conflict")
    assert stale.body["details"] == {
        "name": NAME,
        "group": "apiregistration.k8s.io",
        "kind": "apiservices",
    }


async def test_a_bundle_and_no_verification_exclude_each_other(session: ClientSession) -> None:
    """The APIService is rejected in kube-apiserver's words."""
    await send(session, "POST", API_SERVICES, api_service(insecureSkipTLSVerify=True))
    refused = await send(session, "PATCH", f"{API_SERVICES}/{NAME}", {"spec": {"caBundle": "eA=="}})
    assert refused.status == 422
    assert "may not be true if caBundle is present" in str(refused.body["message"])


async def test_a_patch_of_another_kind_is_refused(session: ClientSession) -> None:
    """Only JSON merge patches are supported."""
    await send(session, "POST", SECRETS, secret())
    async with session.patch(f"{SECRETS}/s", json={}) as response:
        assert response.status == 415


async def test_an_object_is_deleted(session: ClientSession) -> None:
    """The response is a Status of success; the second time, 404."""
    await send(session, "POST", SECRETS, secret())
    gone = await send(session, "DELETE", f"{SECRETS}/s")
    assert (gone.status, gone.body["status"]) == (200, "Success")
    for method in ("DELETE", "PUT", "PATCH", "GET"):
        missing = await send(session, method, f"{SECRETS}/s", secret() if method != "GET" else None)
        assert missing.status == 404
        assert missing.body["message"] == 'secrets "s" not found'


async def test_a_malformed_object_is_rejected(session: ClientSession) -> None:
    """A body that is not a JSON object, and one without a name."""
    for body in (b"{", b"[]", b'"x"'):
        headers = {"Content-Type": "application/json"}
        async with session.post(SECRETS, data=body, headers=headers) as response:
            assert response.status == 400
    assert (await send(session, "POST", SECRETS, {"metadata": {}})).status == 422


async def test_the_rest_is_not_written(api: KubernetesAPI, session: ClientSession) -> None:
    """Controllers own the other objects, and a collection cannot be replaced as a whole."""
    api.apply(PODS, {"metadata": {"name": "p"}})
    for method, path in (
        ("DELETE", "/api/v1/namespaces/default/pods/p"),
        ("POST", "/api/v1/namespaces/default/pods"),
        ("PUT", SECRETS),
        ("POST", f"{SECRETS}/s"),
    ):
        assert (await send(session, method, path, {"metadata": {"name": "p"}})).status == 405
