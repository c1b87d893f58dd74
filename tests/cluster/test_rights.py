"""The server's rights, as the cluster's own authorizer grants them."""

from msgspec import Struct

from tests.cluster.cluster import Cluster
from tests.deployments.manifests import DEPLOYMENTS, NAMESPACE, SERVER

ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{SERVER}"


class Rule(Struct, frozen=True):
    """A rule of rbac.yaml, or a binding to a role that the cluster has.

    Attributes:
        where: kubectl's arguments for what holds it.
        index: which of a role's rules it is; None for a binding.
        call: what the server then says that it cannot do: a verb and a resource.
        namespace: where it would do so.
    """

    where: tuple[str, ...]
    index: int | None
    call: tuple[str, str]
    namespace: str = "default"

    @property
    def removal(self) -> tuple[str, ...]:
        """The kubectl command that takes it away."""
        if self.index is None:
            return ("delete", *self.where)
        patch = f'[{{"op": "remove", "path": "/rules/{self.index}"}}]'
        return ("patch", *self.where, "--type=json", "--patch", patch)


RULES = (
    Rule(("clusterrole", SERVER), 0, ("list", "pods")),
    Rule(("clusterrole", SERVER), 1, ("list", "endpointslices")),
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
    Rule(("clusterrole", f"{SERVER}:certificates"), 0, ("get", "apiservices")),
    Rule((f"-n={NAMESPACE}", "role", f"{SERVER}:certificates"), 0, ("get", "secrets"), NAMESPACE),
)


async def test_each_rule_is_needed(cluster: Cluster) -> None:
    """Whichever is taken away, new replicas say word for word what they may not do."""
    await cluster.install()
    await cluster.measures()

    for rule in RULES:
        verb, resource = rule.call
        await cluster.kubectl(*rule.removal)
        may = ("auth", "can-i", verb, resource, f"--as={ACCOUNT}", f"--namespace={rule.namespace}")
        await cluster.refuses(*may)
        await cluster.restart()
        await cluster.logged(f'cannot {verb} resource "{resource}"')
        await cluster.kubectl("apply", "-f", DEPLOYMENTS / "rbac.yaml")
    await cluster.rolled_out()
