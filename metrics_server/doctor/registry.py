"""All checks, in the order in which they are reported."""

from collections.abc import Sequence

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
