"""The address of a pod's own page, and rejected addresses."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from metrics_server.kube.pod_endpoints import PodEndpoint
from metrics_server.rules.model import Endpoint
from metrics_server.sources.pods.targets import NoTargetError, url_of

IP = "10.0.0.7"


@pytest.mark.parametrize(
    ("ports", "endpoint", "port"),
    [
        ((("http", 8000), ("metrics", 9090)), Endpoint(port=7), 7),
        ((("http", 8000), ("api", 9090)), Endpoint(port="api"), 9090),
        ((("http", 8000), ("metrics", 9090)), Endpoint(), 9090),
        ((("http", 8000), ("http-metrics", 9090)), Endpoint(), 9090),
        ((("http", 8000), ("grpc", 9090)), Endpoint(), 8000),
        ((("http-api", 8000), ("grpc", 9090)), Endpoint(), 8000),
        ((("", 8000),), Endpoint(), 8000),
        ((("metrics", 9090), ("metrics", 9090)), Endpoint(), 9090),
        ((("http", 8000), ("http-admin", 8001)), Endpoint(port=8001), 8001),
    ],
)
def test_the_port(ports: tuple[tuple[str, int], ...], endpoint: Endpoint, port: int) -> None:
    """In this order: the rule's port, the one named metrics, the only HTTP port, the only port."""
    assert url_of(PodEndpoint(IP, ports=ports), endpoint) == f"http://{IP}:{port}/metrics"


def test_annotations_come_after_the_rule_and_before_the_ports() -> None:
    """Annotations are read as Prometheus does by convention."""
    pod = PodEndpoint(IP, ports=(("metrics", 1),), port="9400", path="/m", scheme="https")
    assert url_of(pod, Endpoint()) == f"https://{IP}:9400/m"
    assert url_of(pod, Endpoint(1234, "/v1/metrics", "http")) == f"http://{IP}:1234/v1/metrics"
    assert url_of(pod, Endpoint(path="/m?model=a")) == f"https://{IP}:9400/m?model=a"


@pytest.mark.parametrize(
    ("pod", "endpoint", "says"),
    [
        (None, Endpoint(), "has no IP address yet"),
        (PodEndpoint(""), Endpoint(), "has no IP address yet"),
        (PodEndpoint(IP), Endpoint(), "declares no port: set the annotation"),
        (
            PodEndpoint(IP, ports=(("http", 1), ("http-b", 2))),
            Endpoint(),
            "declares the ports http (1), http-b (2), and which of them has the metrics",
        ),
        # A sidecar's and the engine's.
        (PodEndpoint(IP, ports=(("metrics", 1), ("metrics", 2))), Endpoint(), "is unknown"),
        (
            PodEndpoint(IP, ports=(("metrics", 1), ("metrics", 2), ("http", 3))),
            Endpoint(),
            "is unknown",
        ),
        (PodEndpoint(IP, ports=(("a", 1),)), Endpoint(port="b"), "the configured port is b"),
        (
            PodEndpoint(IP, ports=(("a", 1), ("a", 2))),
            Endpoint(port="a"),
            "has several ports called a",
        ),
        (PodEndpoint(IP, port="0"), Endpoint(), "must be a port number"),
        (PodEndpoint(IP, port="65536"), Endpoint(), "must be a port number"),
        (PodEndpoint(IP, port="80@169.254.169.254"), Endpoint(), "must be a port number"),
        (PodEndpoint(IP, port="1", path="m"), Endpoint(), "which is not a path"),
        (PodEndpoint(IP, port="1", path="/a b"), Endpoint(), "which is not a path"),
        (PodEndpoint(IP, port="1", path="/a?b#c"), Endpoint(), "which is not a path"),
        (PodEndpoint(IP, port="1", scheme="file"), Endpoint(), "it must be http or https"),
        (PodEndpoint("metadata.google.internal", port="1"), Endpoint(), "for an IP address"),
        (PodEndpoint(IP, host_network=True, port="1"), Endpoint(), "uses its node's network"),
    ],
)
def test_no_page(pod: PodEndpoint | None, endpoint: Endpoint, says: str) -> None:
    """The message says what to change."""
    with pytest.raises(NoTargetError) as raised:
        url_of(pod, endpoint)
    assert says in str(raised.value)


REFUSED = (
    "127.0.0.1",
    "127.8.9.1",
    "169.254.169.254",
    "169.254.0.1",
    "0.0.0.0",  # noqa: S104 - nothing is bound to it
    "224.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "fd00:ec2::254",
)


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_may_be_somebody_elses(address: str) -> None:
    """Loopback, link-local, unspecified, multicast, mapped and metadata addresses are rejected."""
    with pytest.raises(NoTargetError, match="cannot be a pod's own"):
        url_of(PodEndpoint(address, port="80"), Endpoint())


def test_a_network_can_be_allowed() -> None:
    """A network can be allowed for clusters whose pods have such addresses, and for tests."""
    pod = PodEndpoint("127.0.0.1", port="80")
    assert url_of(pod, Endpoint(), allowed=[ip_network("127.0.0.0/8")]).startswith("http://127.")
    with pytest.raises(NoTargetError):
        url_of(pod, Endpoint(), allowed=[ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
    shared = PodEndpoint(IP, host_network=True, port="80")
    assert url_of(shared, Endpoint(), host_network=True) == f"http://{IP}:80/metrics"


@given(
    port=st.text(max_size=12),
    path=st.text(max_size=40),
    scheme=st.text(max_size=8) | st.sampled_from(["http", "https"]),
    ip=st.ip_addresses().map(str),
)
def test_whatever_a_pod_says_the_request_goes_to_the_pod(
    port: str, path: str, scheme: str, ip: str
) -> None:
    """Anyone who may create pods writes annotations: they set only port, path and scheme."""
    try:
        url = URL(url_of(PodEndpoint(ip, port=port, path=path, scheme=scheme), Endpoint(port=None)))
    except NoTargetError:
        return
    assert url.host == ip
    assert url.port == int(port)
    assert url.scheme == (scheme or "http")
    assert url.user is url.password is None
    assert not url.query_string
    assert not url.fragment
