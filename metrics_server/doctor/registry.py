"""All checks, in the order in which they are reported, and which of their problems cause which."""

from collections.abc import Sequence

from metrics_server.doctor.causes import Follows, of, table
from metrics_server.doctor.checks import (
    answer,
    api_services,
    ca_bundle,
    certificate,
    clock,
    configuration,
    controller_rights,
    exporter_pages,
    exporter_services,
    gpu_nodes,
    hpa_events,
    hpa_metrics,
    hpa_target,
    hpas,
    interval,
    measurement,
    nothing_happens,
    own_rights,
    pod_labels,
    prometheus,
    readiness,
    samples,
    scale_to_zero,
    selection,
    server,
    server_rights,
    versions,
)
from metrics_server.doctor.model import Check
from metrics_server.doctor.reader import Subject

CHECKS: tuple[Check, ...] = (
    # The cluster.
    versions.CHECK,
    clock.CHECK,
    own_rights.CHECK,
    # The server, and the way to it.
    server.CHECK,
    configuration.CHECK,
    readiness.CHECK,
    server_rights.CHECK,
    api_services.CHECK,
    ca_bundle.CHECK,
    certificate.CHECK,
    controller_rights.CHECK,
    # The exporters.
    exporter_services.CHECK,
    gpu_nodes.CHECK,
    exporter_pages.CHECK,
    pod_labels.CHECK,
    interval.CHECK,
    samples.CHECK,
    prometheus.CHECK,
    # HPAs, and the workload of one.
    hpas.CHECK,
    hpa_target.CHECK,
    hpa_metrics.CHECK,
    hpa_events.CHECK,
    scale_to_zero.CHECK,
    nothing_happens.CHECK,
    selection.CHECK,
    measurement.CHECK,
    answer.CHECK,
)

_UNREACHED = of(server.CHECK, "server-missing", "server-not-ready")
_UNTRUSTED = of(ca_bundle.CHECK) | of(certificate.CHECK)
_NO_EXPORTER = of(exporter_services.CHECK) | of(gpu_nodes.CHECK)
_NO_ROWS = of(exporter_pages.CHECK) | of(pod_labels.CHECK) | of(samples.CHECK)

FOLLOWS: Follows = table(
    (
        # The server, and the way to it.
        (of(server_rights.CHECK), of(server.CHECK, "server-missing")),
        (of(readiness.CHECK), of(server_rights.CHECK)),
        (
            of(server.CHECK, "server-not-ready"),
            of(configuration.CHECK) | of(server_rights.CHECK) | of(readiness.CHECK),
        ),
        (_UNTRUSTED, _UNREACHED | of(server_rights.CHECK) | of(readiness.CHECK, "ca-bundle")),
        (of(api_services.CHECK, "apiservice-missing"), of(server.CHECK, "server-missing")),
        (of(api_services.CHECK, "apiservice-unavailable"), _UNREACHED | _UNTRUSTED),
        # From a node to a sample.
        (
            of(gpu_nodes.CHECK),
            of(exporter_services.CHECK, "exporter-not-ready", "exporter-node-name"),
        ),
        (of(measurement.CHECK), _NO_EXPORTER | _NO_ROWS),
        # From a question to its answer.
        (of(selection.CHECK, "no-pod-matches"), of(hpas.CHECK, "SelectorMatchesNoPods")),
        (of(selection.CHECK, "unknown-metric"), of(hpas.CHECK, "MetricNameUnknown")),
        (of(selection.CHECK, "counter-asked"), of(hpas.CHECK, "MetricIsCounter")),
        (of(selection.CHECK, "selector-unknown"), of(hpa_target.CHECK)),
        (
            of(answer.CHECK, "answer"),
            _UNREACHED
            | _UNTRUSTED
            | of(api_services.CHECK)
            | of(selection.CHECK)
            | of(measurement.CHECK)
            | of(prometheus.CHECK),
        ),
        (
            of(answer.CHECK, "fallback"),
            of(selection.CHECK) | of(measurement.CHECK) | of(prometheus.CHECK),
        ),
        # From an answer to the HPA.
        (
            of(hpa_metrics.CHECK),
            of(answer.CHECK, "answer")
            | of(selection.CHECK)
            | of(measurement.CHECK)
            | of(api_services.CHECK)
            | of(controller_rights.CHECK)
            | of(hpa_target.CHECK),
        ),
    )
)
"""What each problem may follow from: the causes next to it, which may follow from others."""


def checks_for(subject: Subject) -> Sequence[Check]:
    """Return the checks that can say something about a subject."""
    scopes = {"cluster"}
    if subject.hpa:
        scopes |= {"workload", "hpa"}
    elif subject.selector is not None:
        scopes.add("workload")
    checks = [one for one in CHECKS if one.scope in scopes]
    # It takes as long as it is given.
    return [one for one in checks if subject.interval or one is not interval.CHECK]
