"""The component that creates a token for endpoint pickers' metrics pages."""

from tests.deployments.manifests import (
    DEPLOYMENTS,
    NAMESPACE,
    ROOT,
    SERVER,
    at,
    find,
    items,
    mapping,
    pod_spec,
    read,
    server_container,
)
from tests.deployments.test_groups import combined

NAME = f"{SERVER}-endpoint-picker"
FILE = "/etc/endpoint-picker/token"


def test_the_token_is_where_the_guide_has_it() -> None:
    """The file in the guide's configuration is the key that Kubernetes fills."""
    objects = combined("endpoint-picker")
    secret = find(objects, "Secret", NAME)
    assert secret["type"] == "kubernetes.io/service-account-token"
    assert at(secret, "metadata", "annotations", "kubernetes.io/service-account.name") == NAME
    assert "data" not in secret
    volumes = items(pod_spec(find(objects, "Deployment", SERVER)), "volumes")
    (volume,) = (mapping(one, "secret") for one in volumes if at(one, "name") == "endpoint-picker")
    assert volume["secretName"] == NAME
    assert volume["items"] == [{"key": "token", "path": "token"}]
    mounts = {at(one, "name"): one for one in items(server_container(objects), "volumeMounts")}
    mount = mounts["endpoint-picker"]
    assert f"{at(mount, 'mountPath')}/token" == FILE
    assert at(mount, "readOnly") is True
    assert f"auth: {{bearerTokenFile: {FILE}}}" in (ROOT / "docs" / "llm.md").read_text("utf-8")


def test_the_token_may_read_metrics_and_nothing_else() -> None:
    """A compromised picker namespace gains no more; the server has another account."""
    made = read(DEPLOYMENTS / "components" / "endpoint-picker" / "token.yaml")
    (binding,) = (one for one in made if one["kind"] == "ClusterRoleBinding")
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    assert items(binding, "subjects") == [account]
    role = find(made, "ClusterRole", str(at(binding, "roleRef", "name")))
    assert role["rules"] == [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
    bound = [one for one in combined("endpoint-picker") if account in items(one, "subjects")]
    assert len(bound) == 1
