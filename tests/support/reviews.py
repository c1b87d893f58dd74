"""The product's users and questions, as in the simulated Kubernetes API's reviews."""

from metrics_server.auth.identity import User
from metrics_server.auth.request_info import Attributes
from metrics_server.simulator.kube.reviews import Access, Caller, Requirement


def caller_of(user: User) -> Caller:
    """The caller in this user's review."""
    return Caller(user.name, user.uid, user.groups, dict(user.extra))


def access_of(attributes: Attributes) -> Access:
    """The access in the review of these attributes."""
    return Access(
        attributes.verb,
        attributes.namespace,
        attributes.group,
        attributes.version,
        attributes.resource,
        attributes.name,
        attributes.subresource,
        attributes.path,
        tuple(Requirement(r.key, r.operator, r.values) for r in attributes.fields),
        tuple(Requirement(r.key, r.operator, r.values) for r in attributes.labels),
    )
