"""The checks' judgements, on values: no cluster is needed."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from metrics_server.config.rules import rules_in_force
from metrics_server.config.sections import Config
from metrics_server.doctor.asking import Answered, Asked, Item, answered
from metrics_server.doctor.checks import (
    answer,
    api_services,
    ca_bundle,
    certificate,
    clock,
    measurement,
    readiness,
    server,
    versions,
)
from metrics_server.doctor.installation import Installation, flags_of
from metrics_server.doctor.objects import ApiService, RunningPod, ServiceReference
from metrics_server.kube.answers import Fetched
from metrics_server.kube.labels import parse_selector
from metrics_server.measuring.samples import Collection, Gap
from metrics_server.tls.authority import Authority

RULES = rules_in_force((), gauges=True)
OURS = ServiceReference("gpu-monitoring", "gpu-metrics-server")
ASKED = Asked("External", "gpu_utilization", "default", parse_selector("app=a"))


@pytest.mark.parametrize(
    ("reason", "message", "fix"),
    [
        ("ServiceNotFound", "", "kubectl apply -f deployments/metrics-server.yaml"),
        ("MissingEndpoints", "", "kubectl -n gpu-monitoring get pods -l "),
        ("FailedDiscoveryCheck", "x509: unknown authority", "rollout restart"),
        ("FailedDiscoveryCheck", "context deadline exceeded", "TCP 6443"),
    ],
)
def test_each_reason_of_an_api_service_has_its_fix(reason: str, message: str, fix: str) -> None:
    """As in the troubleshooting guide."""
    found = {"type": "Available", "status": "False", "reason": reason, "message": message}
    made = {
        "metadata": {"name": "x"},
        "spec": {"service": {"namespace": OURS.namespace, "name": OURS.name}},
        "status": {"conditions": [found]},
    }
    one = msgspec.convert(made, ApiService)
    (problem,) = api_services.judge([("v1beta1.external.metrics.k8s.io", one)], OURS).problems
    assert fix in problem.fix
    unchecked = msgspec.convert({**made, "status": {}}, ApiService)
    (problem,) = api_services.judge([("v1beta2.custom.metrics.k8s.io", unchecked)], OURS).problems
    assert "has not checked it yet" in problem.message


def test_the_older_version_of_another_server_is_noted() -> None:
    """The HPA controller may use it."""
    older = msgspec.convert(
        {"metadata": {"name": "x"}, "spec": {"service": {"namespace": "a", "name": "adapter"}}},
        ApiService,
    )
    assert "is served by a/adapter" in api_services.judge([], OURS, older).notes[0]


def _api_service(bundle: bytes) -> ApiService:
    made = msgspec.convert({"metadata": {"name": "x"}, "spec": {}}, ApiService)
    made.spec.service, made.spec.ca_bundle = OURS, bundle
    return made


def test_bundles() -> None:
    """An unreadable one; none of ours; an expired one."""
    (problem,) = ca_bundle.judge([("x", _api_service(b"?"))], OURS, b"").problems
    assert "cannot be read" in problem.message
    assert ca_bundle.judge([("x", None)], OURS, b"").skipped
    bundle = Authority("a", timedelta(days=30)).bundle
    now = datetime.now(UTC)
    assert "29 more days" in certificate.judge([("x", bundle)], OURS, now).summary
    (problem,) = certificate.judge([("x", bundle)], OURS, now + timedelta(days=31)).problems
    assert "expired at" in problem.message
    assert certificate.judge([("x", b"?")], OURS, now).skipped
    assert certificate.judge([], OURS, now).skipped


def test_clocks() -> None:
    """Behind, within a second, and without a date."""
    date = "Thu, 26 Nov 2026 09:00:00 GMT"
    at = datetime(2026, 11, 26, 9, tzinfo=UTC).timestamp()
    assert clock.judge(date, at + 0.4, at + 0.9).problems == ()
    (problem,) = clock.judge(date, at + 61, at + 62).problems
    assert "60 s behind" in problem.message
    assert clock.judge("", at, at).skipped


def test_readiness() -> None:
    """Failures, warnings, and checks that could not be requested."""
    text = b"[+]ping ok\n[-]pods-synced failed: not yet listed\n[+]ca-bundle ok, but: not written\n"
    verdict = readiness.judge(
        "gpu-monitoring", [("a", Fetched(500, text)), ("b", Fetched(500, text))]
    )
    assert {one.name: one.about for one in verdict.problems} == {
        "pods-synced": "pod gpu-monitoring/a",
        "ca-bundle": "pod gpu-monitoring/a",
    }
    refused = Fetched(403, b'{"message": "you may not"}')
    assert "you may not" in readiness.judge("x", [("a", refused)]).skipped
    away = Fetched(503, b'{"message": "no route"}')
    assert "pod a could not be asked: no route" in readiness.judge("x", [("a", away)]).skipped


def test_versions() -> None:
    """A different server version is noted."""
    verdict = versions.judge("v1.31.2", "registry/gpu-metrics-server:0.0.9@sha256:0")
    assert "this command" in verdict.notes[0]
    assert versions.judge("v1.31.2", "").summary.startswith("Kubernetes v1.31.2, server of unknown")


def test_states_of_server_pods() -> None:
    """Why a pod is not Ready, in a few words."""
    states = {}
    for status in (
        {
            "phase": "Running",
            "containerStatuses": [
                {
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"reason": "OOMKilled"}},
                }
            ],
        },
        {
            "phase": "Pending",
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/3 nodes",
                }
            ],
        },
        {"phase": "Running"},
        {"phase": "Failed"},
    ):
        pod = msgspec.convert(
            {"metadata": {"name": "a"}, "spec": {"containers": []}, "status": status}, RunningPod
        )
        states[pod.state] = pod
    assert [*states] == [
        "CrashLoopBackOff, last ended with OOMKilled",
        "Unschedulable: 0/3 nodes",
        "not Ready",
        "Failed",
    ]
    installed = Installation("gpu-monitoring", None, Config(), "", "")
    (problem,) = server.judge(installed, [*states.values()]).problems
    assert "a is CrashLoopBackOff, last ended with OOMKilled; a is Unsched" in problem.message


def test_flags_of_a_deployment() -> None:
    """In both forms, and without a value."""
    flags = flags_of(["serve", "--config", "a.yaml", "--secure-port=7443", "--self-managed-certs"])
    assert flags == {"config": "a.yaml", "secure-port": "7443", "self-managed-certs": "true"}


def test_gaps_are_problems() -> None:
    """Under the gap's reason, whether there is a value or not."""
    rule = RULES.find("gpu_utilization")
    for reason, command in (
        ("no-exporter", "kubectl label nodes gpu-0 nvidia.com/gpu=present"),
        ("exporters-failed", "rollout restart daemonset/dcgm-exporter"),
        ("no-sample", "logs -l app.kubernetes.io/name=dcgm-exporter"),
    ):
        collection = Collection(1, (), (Gap(reason, "why"),))
        one = measurement.Measured(ASKED, rule, ("gpu-0",), 0, frozenset(), collection)
        verdict = measurement.judge([one], 0.5)
        assert "no value" in verdict.summary
        (problem,) = verdict.problems
        assert (problem.name, problem.message) == (reason, "why")
        assert command in problem.fix
    assert measurement.judge([], 0.5).skipped


def test_answers() -> None:
    """Rejected, empty, or unreadable."""
    assert answer.judge([]).skipped
    assert "you may not" in answer.judge([(ASKED, Answered(error="no", status=403))]).notes[0]
    (problem,) = answer.judge([(ASKED, Answered())]).problems
    assert "empty list" in problem.message
    assert "cannot be read" in answered(Fetched(200, b"<html>")).error
    many = Answered([Item(str(n)) for n in range(9)])
    assert "0, 1, 2, 3, 4 and 4 more" in answer.judge([(ASKED, many)]).summary
