"""The server's rights, as granted by the cluster's own authorizer."""

import base64
import ssl

import aiohttp
from msgspec import Struct

from tests.cluster.cluster import API_SERVICE, CUSTOM, CUSTOM_API_SERVICE, METRIC, Cluster
from tests.cluster.containers import SERVER_PORT
from tests.deployments.manifests import DEPLOYMENTS, NAMESPACE, SERVER
from tests.support.waiting import eventually

ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{SERVER}"


class Rule(Struct, frozen=True):
    """A rule in the manifests, or a binding to a role of the cluster.

    Attributes:
        where: kubectl's arguments for its object.
        index: which of a role's rules it is; None for a binding.
        call: what the server then says it cannot do: a verb and a resource.
        namespace: where it would do it.
        about: the resource and name in the message, where another rule is for the same
            call; "" if the call is enough to identify it.
    """

    where: tuple[str, ...]
    index: int | None
    call: tuple[str, str]
    namespace: str = "default"
    about: str = ""

    @property
    def message(self) -> str:
        """The server's message without it."""
        verb, resource = self.call
        return (
            f"{self.about} is forbidden" if self.about else f'cannot {verb} resource "{resource}"'
        )

    @property
    def removal(self) -> tuple[str, ...]:
        """The kubectl command that removes it."""
        if self.index is None:
            return ("delete", *self.where)
        patch = f'[{{"op": "remove", "path": "/rules/{self.index}"}}]'
        return ("patch", *self.where, "--type=json", "--patch", patch)


RULES = (
    Rule(("clusterrole", SERVER), 0, ("watch", "pods")),
    Rule(("clusterrole", SERVER), 1, ("watch", "endpointslices")),
    Rule(("clusterrole", SERVER), 2, ("watch", "horizontalpodautoscalers")),
    Rule(
        ("clusterrolebinding", f"{SERVER}:auth-delegator"),
        None,
        ("create", "subjectaccessreviews"),
    ),
    Rule(
        ("-n=kube-system", "rolebinding", f"{SERVER}:auth-reader"),
        None,
        ("get", "configmaps"),
        "kube-system",
    ),
    *(
        Rule(
            ("clusterrole", f"{SERVER}:{role}"),
            0,
            ("get", "apiservices"),
            about=f'apiservices.apiregistration.k8s.io "{name}"',
        )
        for role, name in (
            ("certificates", API_SERVICE),
            ("custom-metrics-certificates", CUSTOM_API_SERVICE),
        )
    ),
    Rule((f"-n={NAMESPACE}", "role", f"{SERVER}:certificates"), 0, ("get", "secrets"), NAMESPACE),
    Rule(
        (f"-n={NAMESPACE}", "role", f"{SERVER}:certificates"),
        1,
        ("get", "configmaps"),
        NAMESPACE,
        about=f'configmaps "{SERVER}-ca"',
    ),
)
# The rules for objects that a metric can describe, in order, and a request that needs each.
OBJECTS = ("deployments.apps", "jobs.batch", "services")


async def test_prometheus_may_read_what_others_may_not(cluster: Cluster) -> None:
    """Its ServiceAccount reads /metrics only once the overlay's role is bound to it.

    It verifies the server as the overlay's ServiceMonitor says.
    """
    await cluster.install()
    await cluster.kubectl("create", "namespace", "monitoring")
    await cluster.kubectl("-n", "monitoring", "create", "serviceaccount", "prometheus-k8s")
    token = await cluster.kubectl("-n", "monitoring", "create", "token", "prometheus-k8s")
    secret = ("-n", NAMESPACE, "get", "secret", f"{SERVER}-certificates")
    authority = await cluster.kubectl(*secret, r"-o=jsonpath={.data.ca\.crt}")
    context = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
    addresses = await cluster.kubectl(
        *("-n", NAMESPACE, "get", "endpointslices", f"-l=kubernetes.io/service-name={SERVER}"),
        "-o=jsonpath={.items[*].endpoints[*].addresses[*]}",
    )

    async def scrape() -> tuple[int, str]:
        url = f"https://{addresses.split()[0]}:{SERVER_PORT}/metrics"
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
            session.get(url, ssl=context, server_hostname=f"{SERVER}.{NAMESPACE}.svc") as response,
        ):
            return response.status, await response.text()

    status, text = await scrape()
    assert (status, 'cannot get path \\"/metrics\\"' in text) == (403, True), text
    overlay = DEPLOYMENTS / "components" / "prometheus-operator" / "rbac.yaml"
    await cluster.kubectl("apply", "-f", overlay)
    status, text = await eventually(scrape, lambda told: told[0] == 200, 60)
    assert "gpu_metrics_server_certificate_expiration_timestamp_seconds" in text


async def test_who_may_view_a_namespace_reads_its_metrics(cluster: Cluster) -> None:
    """Through the cluster's own role `view`, bound in that namespace; nobody and nowhere else."""
    await cluster.install()
    await cluster.measures()
    selector = METRIC.partition("?")[2]
    elsewhere = f"{METRIC.partition('/namespaces/')[0]}/namespaces/kube-system/gpu_utilization"
    await cluster.refuses("get", "--raw", METRIC, "--as=jane")
    await cluster.kubectl("create", "rolebinding", "jane", "--clusterrole=view", "--user=jane")
    await cluster.becomes('"source":"exporters"', "get", "--raw", METRIC, "--as=jane")
    await cluster.refuses("get", "--raw", f"{elsewhere}?{selector}", "--as=jane")
    await cluster.refuses("get", "--raw", METRIC, "--as=joe")


async def test_an_empty_secret_is_filled_again(cluster: Cluster) -> None:
    """As docs/troubleshooting.md says about starting over with another certificate."""
    await cluster.install()
    secret = ("-n", NAMESPACE, "get", "secret", f"{SERVER}-certificates", "-o=jsonpath={.data}")
    before = await cluster.kubectl(*secret)
    patch = ("--type=merge", "-p", '{"data":null}')
    await cluster.kubectl("-n", NAMESPACE, "patch", "secret", f"{SERVER}-certificates", *patch)
    assert await cluster.becomes("tls.key", *secret) != before
    await cluster.measures()


async def test_each_rule_is_needed(cluster: Cluster) -> None:
    """Without any one of them, new replicas say exactly what they may not do."""
    await cluster.install()
    await cluster.measures()

    for rule in RULES:
        verb, resource = rule.call
        await cluster.kubectl(*rule.removal)
        may = ("auth", "can-i", verb, resource, f"--as={ACCOUNT}", f"--namespace={rule.namespace}")
        await cluster.refuses(*may)
        await cluster.restart()
        await cluster.logged(rule.message)
        await reapply(cluster)
    await cluster.rolled_out()

    for index, resource in enumerate(OBJECTS):
        await answers(cluster, resource, "there is no")
        removed = Rule(("clusterrole", f"{SERVER}:custom-metrics"), index, ("get", resource))
        await cluster.kubectl(*removed.removal)
        await answers(cluster, resource, f'cannot get resource "{resource.partition(".")[0]}"')
        await reapply(cluster)


async def answers(cluster: Cluster, resource: str, error: str) -> None:
    """Wait until a metric of a nonexistent object gets this error."""

    async def said() -> str:
        path = f"{CUSTOM}/{resource}/none/gpu_utilization"
        return (await cluster.plane.kubectl("get", "--raw", path)).err.replace('\\"', '"')

    await eventually(said, lambda text: error in text, 60)


async def reapply(cluster: Cluster) -> None:
    """Apply the files with the rules."""
    files = [f"--filename={DEPLOYMENTS / name}.yaml" for name in ("rbac", "custom-metrics")]
    await cluster.kubectl("apply", *files)
