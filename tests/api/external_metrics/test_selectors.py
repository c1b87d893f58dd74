"""Which pods a query selects, over real TLS, with exporters on real sockets."""

import pytest

from tests.support.clients import Client
from tests.support.external_metrics import METRIC, PATH, UTILIZATION


@pytest.mark.parametrize(
    ("query", "pods"),
    [
        ("", "abc"),
        ("?", "abc"),
        ("?labelSelector", "abc"),
        ("?labelSelector=", "abc"),
        ("?labelSelector=app%3Dinference", "ab"),
        ("?labelSelector=app%3D%3Dinference", "ab"),
        ("?labelSelector=app=inference", "ab"),
        ("?labelSelector=app%21%3Dinference", "c"),
        # An absent label does not equal any value.
        ("?labelSelector=tier!%3Dgpu", "bc"),
        ("?labelSelector=tier+in+%28accel%2Cgpu%29", "ab"),
        ("?labelSelector=tier%20in%20(gpu)", "a"),
        ("?labelSelector=tier+notin+%28gpu%29", "bc"),
        ("?labelSelector=tier", "ab"),
        ("?labelSelector=canary", "b"),
        ("?labelSelector=canary%3D", "b"),
        ("?labelSelector=%21canary", "ac"),
        ("?labelSelector=rank%3E1", "b"),
        ("?labelSelector=rank<2", "a"),
        ("?labelSelector=team.example.com%2Fname%3Dblue-1", "c"),
        # As the HPA controller sent it: sorted, and form-encoded, so that a plus is a space.
        (
            (
                "?labelSelector=app%3Dinference%2C%21canary%2Ctier+in+%28accel%2Cgpu%29%2C"
                "x+notin+%28a%2Cb%29"
            ),
            "a",
        ),
        # As in Go's url.Values, the first one wins.
        ("?labelSelector=tier%3Dgpu&labelSelector=app%3Dtraining", "a"),
        ("?limit=1&continue=xyz&resourceVersion=0&timeoutSeconds=0", "abc"),
        ("?limit=&timeoutSeconds=", "abc"),
        ("?limit=-1&resourceVersionMatch=Exact&pretty=true&unknown=1", "abc"),
        ("?watch=false", "abc"),
        ("?watch=0", "abc"),
        ("?fieldSelector=", "abc"),
        ("?fieldSelector=metadata.namespace%3Ddefault", "abc"),
        ("?fieldSelector=metadata.namespace%3D%3Ddefault,&labelSelector=tier%3Dgpu", "a"),
    ],
)
async def test_which_pods_a_query_means(client: Client, query: str, pods: str) -> None:
    """Every operator of a selector selects as in Kubernetes; other parameters change nothing."""
    item = (await client.ask(f"{METRIC}{query}")).item()
    mean = sum(UTILIZATION[name] for name in pods) / len(pods)
    assert item.value == str(int(mean + 0.5))
    assert item.metric_labels["pods"] == f"{len(pods)}/{len(pods)}"


@pytest.mark.parametrize(
    "name",
    [
        "gpu_utilization",
        "GPU_UTILIZATION",
        "Gpu_Utilization",
        "gpu%5Futilization",
        "%67pu_utilization",
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_name_in_any_case_and_encoding(client: Client, name: str, slash: str) -> None:
    """client-go lowercases names and may percent-encode them: the metric is the same."""
    item = (await client.ask(f"{PATH}/{name}{slash}")).item()
    assert (item.metric_name.lower(), item.value) == ("gpu_utilization", "7")


async def test_a_namespace_is_kept_to(client: Client) -> None:
    """A pod of the same name in another namespace is another pod."""
    assert (await client.metric("other", "gpu_utilization")).item().value == "64"
