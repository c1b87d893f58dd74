"""Access to a whole server, on a real TLS socket."""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from metrics_server.auth.identity import ANONYMOUS, MASTERS
from metrics_server.errors import ConfigurationError
from metrics_server.simulator.faults import Fault, FaultKind
from metrics_server.simulator.kube.objects import CONFIG_MAPS, Object
from metrics_server.simulator.kube.reviews import Access, Caller
from metrics_server.simulator.kube.trust import FRONT_PROXY, SimulatedTrust
from metrics_server.tls.authority import Authority, KeyPair
from metrics_server.wiring.server import running
from tests.support.clients import Answer, Client
from tests.support.exporters import page
from tests.support.harness import Cluster, cluster, configuration, kubernetes_api, serve_options
from tests.support.objects import pod
from tests.support.waiting import eventually

HPA = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
METRIC = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/gpu_utilization"
DISCOVERY = "/apis/external.metrics.k8s.io/v1beta1"
GOOD_TOKEN = Caller("robot", groups=("robots",))


def only_hpa_and_robot(user: Caller, access: Access) -> Object:
    """RBAC that lets two users list metrics, and forbids everything else."""
    may = user.name in (HPA, "robot") and access.verb == "list"
    return {"allowed": may, "reason": "" if may else "no rule"}


@pytest.fixture
async def simulated() -> AsyncIterator[Cluster]:
    """A server with a measurement, in a cluster with that RBAC."""
    pages = {"gpu-0": page({("default", "a"): [40]})}
    async with cluster(pages, [pod("a")], tokens={"good": GOOD_TOKEN}) as simulated:
        simulated.trust.reviews.decide = only_hpa_and_robot
        yield simulated


async def ask(
    simulated: Cluster,
    pair: KeyPair | None = None,
    headers: Mapping[str, str] | None = None,
    path: str = METRIC,
) -> Answer:
    """The answer, on a new connection."""
    assert simulated.server.bundle is not None
    async with Client(simulated.server.url, simulated.server.bundle, pair) as client:
        return await client.ask(path, headers or {})


async def test_a_front_proxy_asks_for_a_user_who_may(simulated: Cluster) -> None:
    """The certificate's name is allowed, and the user it sends passes the review: 200."""
    answer = await ask(simulated, simulated.trust.front_proxy(), {"X-Remote-User": HPA})
    assert answer.item().value == "40"


async def test_a_front_proxy_asks_for_a_user_who_may_not(simulated: Cluster) -> None:
    """The same, but the user fails the review: 403 in kube-apiserver's words."""
    answer = await ask(simulated, simulated.trust.front_proxy(), {"X-Remote-User": "eve"})
    status = answer.error()
    assert (status.code, status.reason) == (403, "Forbidden")
    assert status.message == (
        'gpu_utilization.external.metrics.k8s.io is forbidden: User "eve" cannot list resource '
        '"gpu_utilization" in API group "external.metrics.k8s.io" in the namespace "default": '
        "no rule"
    )


async def test_another_certificate_of_the_front_proxies_authority(simulated: Cluster) -> None:
    """Its name is not allowed, so its identity headers are not trusted: 401."""
    answer = await ask(simulated, simulated.trust.front_proxy("somebody"), {"X-Remote-User": HPA})
    assert answer.error().code == 401


async def test_a_users_certificate_with_identity_headers(simulated: Cluster) -> None:
    """The user is the one in the certificate, whatever the headers say."""
    eve = simulated.trust.clients.issue_client("eve", ["people"])
    headers = {"X-Remote-User": HPA, "X-Remote-Group": MASTERS}
    assert (await ask(simulated, eve, headers)).error().code == 403
    spec = simulated.trust.reviews.access_reviews[-1]["spec"]
    assert isinstance(spec, dict)
    assert (spec["user"], spec["groups"]) == ("eve", ["people", "system:authenticated"])


async def test_no_certificate_with_identity_headers(simulated: Cluster) -> None:
    """Anyone can send headers: an anonymous caller gets only health."""
    headers = {"X-Remote-User": HPA, "X-Remote-Group": MASTERS}
    answer = await ask(simulated, None, headers)
    assert answer.error().code == 403
    assert f'User "{ANONYMOUS.name}"' in answer.error().message
    for path in ("/healthz", "/livez", "/readyz"):
        assert (await ask(simulated, None, headers, path)).status == 200
    for path in ("/metrics", DISCOVERY, "/healthz/ping", "/nowhere"):
        assert (await ask(simulated, None, headers, path)).status == 403


@pytest.mark.parametrize(("token", "code"), [("good", 200), ("bad", 401), ("expired", 401)])
async def test_bearer_tokens(simulated: Cluster, token: str, code: int) -> None:
    """A token that passes review is authorized as its user; any other is rejected."""
    answer = await ask(simulated, None, {"Authorization": f"Bearer {token}"})
    assert answer.status == code


async def test_a_good_token_of_a_user_who_may_not(simulated: Cluster) -> None:
    """Authentication alone grants no access."""
    answer = await ask(simulated, None, {"Authorization": "Bearer good"}, "/metrics")
    assert answer.error().code == 403


@pytest.mark.slow
async def test_token_reviews_are_down(simulated: Cluster) -> None:
    """Unidentified callers are rejected, and it is logged, without the token."""
    simulated.api.faults.refuse_next(503, "no leader", times=100)
    with capture_logs() as logs:
        answer = await ask(simulated, None, {"Authorization": "Bearer good"})
    assert answer.error().code == 401
    assert any("token" in entry["event"] and "no leader" in str(entry) for entry in logs)
    assert "good" not in str(logs)


async def test_certificates_that_verify_under_no_authority(simulated: Cluster) -> None:
    """A self-signed or expired certificate alone is rejected, not treated as anonymous."""
    expired = Authority("kubernetes-ca", timedelta(seconds=-1))
    for pair in (
        Authority("self").issue_client("admin", [MASTERS]),
        expired.issue_client("admin", [MASTERS]),
    ):
        status = (await ask(simulated, pair, {"X-Remote-User": HPA})).error()
        assert (status.code, status.reason) == (401, "Unauthorized")


@pytest.mark.parametrize("fault", ["error", "garbage"])
async def test_reviews_that_do_not_decide(simulated: Cluster, fault: FaultKind) -> None:
    """A review without a decision is a server error, never a permission."""
    simulated.trust.reviews.set_fault(Fault(fault))
    answer = await ask(simulated, simulated.trust.front_proxy(), {"X-Remote-User": HPA})
    status = answer.error()
    assert (status.code, status.reason) == (500, "InternalError")


async def test_the_front_proxies_authority_rotates(simulated: Cluster) -> None:
    """Within seconds, new connections trust only the new one."""
    old = simulated.trust.front_proxy()
    simulated.trust.front_proxies = Authority("front-proxy-ca")
    simulated.trust.publish()
    new = simulated.trust.front_proxy()

    async def code(pair: KeyPair) -> int:
        return (await ask(simulated, pair, {"X-Remote-User": HPA})).status

    assert await eventually(lambda: code(new), lambda code: code == 200)
    assert await code(old) == 401


async def test_the_allowed_names_change(simulated: Cluster) -> None:
    """A changed list of names is loaded while the server runs."""
    proxy = simulated.trust.front_proxy()
    simulated.trust.publish(("another",))

    async def code() -> int:
        return (await ask(simulated, proxy, {"X-Remote-User": HPA})).status

    assert await eventually(code, lambda code: code == 401)
    simulated.trust.publish((FRONT_PROXY,))
    assert await eventually(code, lambda code: code == 200)


async def test_nobody_is_trusted_without_the_config_map() -> None:
    """The server does not start, and says which RoleBinding it needs."""
    async with kubernetes_api() as (api, authority), serve_options(api, authority) as options:
        SimulatedTrust(api)
        api.delete(CONFIG_MAPS, "kube-system", "extension-apiserver-authentication")
        with pytest.raises(ConfigurationError) as raised:
            async with running(options, configuration()):
                pass
    assert "kubectl create rolebinding" in str(raised.value)
    assert "extension-apiserver-authentication-reader" in str(raised.value)


async def test_identities_never_share_a_decision(simulated: Cluster) -> None:
    """Users that differ in one group, UID or extra are reviewed separately."""
    proxy = simulated.trust.front_proxy()
    variants: list[dict[str, str]] = [
        {},
        {"X-Remote-Group": "a"},
        {"X-Remote-Group": "a,b"},
        {"X-Remote-Extra-Scopes": "x"},
        {"X-Remote-Extra-Scopes%2fsub": "x"},
        {"X-Remote-Uid": "1"},
    ]
    for extra in variants:
        await ask(simulated, proxy, {"X-Remote-User": HPA, **extra})
    seen = [review["spec"] for review in simulated.trust.reviews.access_reviews]
    assert len(seen) == len(variants)


async def test_reviews_carry_what_is_selected(simulated: Cluster) -> None:
    """If not everything may be read, name, fields and labels are sent as kube-apiserver does."""
    proxy = simulated.trust.front_proxy()
    simulated.trust.reviews.decide = lambda _user, access: {
        "allowed": bool(access.fields or access.labels)
    }
    for query in (
        "labelSelector=app+in+(b,a),!old&fieldSelector=metadata.name%3Dgpu",
        "labelSelector=app%3Da",
        "labelSelector=app%3Da",
        "",
    ):
        answer = await ask(simulated, proxy, {"X-Remote-User": HPA}, f"{METRIC}?{query}")
        assert answer.status in ((200, 400, 404) if query else (403,))
    asked = {
        "namespace": "default",
        "verb": "list",
        "group": "external.metrics.k8s.io",
        "version": "v1beta1",
        "resource": "gpu_utilization",
    }
    specs = [one["spec"] for one in simulated.trust.reviews.access_reviews]
    assert [spec["resourceAttributes"] for spec in specs if isinstance(spec, dict)] == [
        asked,
        {
            **asked,
            "name": "gpu",
            "fieldSelector": {
                "requirements": [{"key": "metadata.name", "operator": "In", "values": ["gpu"]}]
            },
            "labelSelector": {
                "requirements": [
                    {"key": "app", "operator": "In", "values": ["a", "b"]},
                    {"key": "old", "operator": "DoesNotExist"},
                ]
            },
        },
        {
            **asked,
            "labelSelector": {"requirements": [{"key": "app", "operator": "In", "values": ["a"]}]},
        },
    ]
