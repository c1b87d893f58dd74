"""The product's users and questions, as the simulated Kubernetes API sees them in reviews."""

from metrics_server.auth.identity import User
from metrics_server.auth.request_info import Attributes
from metrics_server.simulator.kube.reviews import Access, Caller, Requirement


def caller_of(user: User) -> Caller:
    """The caller that a review of this user is about."""
    return Caller(user.name, user.uid, user.groups, dict(user.extra))


def access_of(attributes: Attributes) -> Access:
    """The access that a review of these attributes asks about."""
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
