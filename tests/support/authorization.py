"""Requests to authorize, and recorded reviews of them."""

from metrics_server.auth.authorization import Authorizer
from metrics_server.auth.identity import User
from metrics_server.auth.request_info import Attributes
from metrics_server.errors import ForbiddenError
from metrics_server.simulator.kube.objects import Object

GROUP = "external.metrics.k8s.io"
METRIC = Attributes("list", "default", GROUP, "v1beta1", "gpu_utilization")

ALICE = User("alice", groups=("dev", "system:authenticated"))

ALLOWED: Object = {"allowed": True}


async def is_allowed(authorizer: Authorizer, user: User, attributes: Attributes) -> bool:
    """Whether a user may do that; an error in the review is raised."""
    try:
        await authorizer.authorize(user, attributes)
    except ForbiddenError:
        return False
    return True
