"""Whether an object is valid for a release of Kubernetes; each file of schemas is read once."""

from functools import cache

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
from kubernetes_validate import ValidationError, utils

from metrics_server.simulator.kube.objects import Object

__all__ = ["ValidationError", "validate"]

# It would read the two megabytes of a release's definitions again for each object.
utils.schema_contents = cache(utils.schema_contents)


def validate(obj: Object, version: str) -> None:
    """Check that an object has the schema of its kind, and no field that the kind does not have.

    Raises:
        ValidationError: it does not.
    """
    kubernetes_validate.validate(obj, version, strict=True)
