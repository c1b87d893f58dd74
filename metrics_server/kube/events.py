"""Events about objects of the cluster, for `kubectl describe` and `kubectl events`.

They are core/v1 Events, which every version of kubectl and every collector of events reads. An
event's name is a digest of what identifies it, so of several replicas that emit the same one, the
first creates it and the others find it there. One that happens again is counted rather than
created, and the events about each object are limited, as in client-go (EventCorrelator in
k8s.io/client-go/tools/record/events_cache.go).
"""

import hashlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Literal, Protocol

import msgspec
import structlog
from cachetools import TTLCache
from msgspec import Struct

from metrics_server.common.outages import Outage
from metrics_server.common.rates import Rate, Rates
from metrics_server.errors import KubernetesError

MAX_MESSAGE_BYTES = 1024
"""The longest message that events.k8s.io accepts, which stores the same objects."""

_COMPONENT = "gpu-metrics-server"
_SECONDS = 10.0
# As long as kube-apiserver keeps events by default: then an event that still applies is due again.
_REPEAT_SECONDS = 3600.0
_MAX_REMEMBERED = 10_000
# For each object, as in client-go; and for all together, so that they are no burden.
_EACH, _TOTAL = Rate(per_second=1 / 300, burst=25), Rate(per_second=5, burst=100)
# As in client-go, an event about an object without a namespace is in this one.
_NAMESPACE = "default"
# The name of an object can have 253 characters, and the digest needs some of them.
_MAX_NAME = 200
_DIGEST_BYTES = 8
_ELLIPSIS = "…"

log = structlog.stdlib.get_logger(__name__)


class Sender(Protocol):
    """The method of `kube.client.KubernetesClient` that is needed here."""

    async def send(
        self,
        method: Literal["POST", "PUT", "PATCH", "DELETE"],
        path: str,
        body: Struct | Mapping[str, object],
        *,
        timeout: float,  # noqa: ASYNC109 - as in the client
    ) -> bytes:
        """Return the body of the answer to a write, or raise a KubernetesError."""
        ...


class Regarding(Struct, frozen=True):
    """The object that an event is about.

    Attributes:
        api_version: its group and version, such as "autoscaling/v2".
        kind: its kind.
        name: its name.
        namespace: its namespace; "" if it is cluster-scoped.
        uid: its UID; "" if unknown. `kubectl describe` shows events only if this matches.
    """

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    uid: str = ""


EventType = Literal["Normal", "Warning"]


class Events:
    """Emits events.

    An event is only a hint, so a failure to emit one is logged and never raised.

    Args:
        kubernetes: the client of the Kubernetes API.
        clock: seconds that never run backwards.
    """

    def __init__(self, kubernetes: Sender, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kubernetes = kubernetes
        self._instance = os.environ.get("HOSTNAME") or socket.gethostname()
        self._counts: TTLCache[str, int] = TTLCache(_MAX_REMEMBERED, _REPEAT_SECONDS, clock)
        self._rates = Rates(each=_EACH, total=_TOTAL, clock=clock)
        self._outage = Outage(
            log,
            "events not emitted",
            "events can be emitted again",
            # An event about an object or a namespace that is being deleted fails, while others
            # succeed.
            quiet=_REPEAT_SECONDS,
            clock=clock,
        )

    async def warn(self, regarding: Regarding, reason: str, message: str) -> bool:
        """Emit a Warning event, unless the same was emitted within the last hour.

        Return whether it is emitted, by this server or by another replica.

        Args:
            regarding: the object that it is about.
            reason: one word in CamelCase, for machines.
            message: a sentence for people; cut to `MAX_MESSAGE_BYTES`.
        """
        name = _name(regarding, reason, message)
        if name in self._counts:
            return True
        return await self._create(name, "Warning", regarding, reason, message)

    async def occurred(
        self, kind: EventType, regarding: Regarding, reason: str, about: str, message: str
    ) -> bool:
        """Emit an event about something that may happen repeatedly.

        Within an hour, the event is not created again: its count increases, and its message
        becomes the new one. Return whether it is emitted; not if there were too many about the
        object.

        Args:
            kind: its type.
            regarding: the object that it is about.
            reason: one word in CamelCase, for machines.
            about: with the reason, what identifies the event.
            message: a sentence for people; cut to `MAX_MESSAGE_BYTES`.
        """
        if not self._rates.allow(regarding):
            return False
        name = _name(regarding, reason, about)
        count = self._counts.get(name)
        if count is None:
            return await self._create(name, kind, regarding, reason, message)
        self._counts[name] = count + 1
        changed = {"count": count + 1, "lastTimestamp": _now(), "message": _cut(message)}
        try:
            await self._send("PATCH", regarding, f"/{name}", changed)
        except KubernetesError as error:
            self._counts.pop(name, None)
            if error.code == HTTPStatus.NOT_FOUND:  # it expired early, or was deleted
                return await self._create(name, kind, regarding, reason, message)
            return self._failed(error, regarding, reason)
        self._outage.recovered()
        return True

    async def _create(
        self, name: str, kind: EventType, regarding: Regarding, reason: str, message: str
    ) -> bool:
        # Before it is sent, so that it is not sent twice at the same time.
        self._counts[name] = 1
        try:
            await self._send(
                "POST", regarding, "", self._event(name, kind, regarding, reason, message)
            )
        except KubernetesError as error:
            if error.code != HTTPStatus.CONFLICT:  # another replica has emitted it
                self._counts.pop(name, None)
                return self._failed(error, regarding, reason)
        self._outage.recovered()
        return True

    async def _send(
        self,
        method: Literal["POST", "PATCH"],
        regarding: Regarding,
        name: str,
        body: Mapping[str, object],
    ) -> None:
        path = f"/api/v1/namespaces/{_namespace(regarding)}/events{name}"
        await self._kubernetes.send(method, path, body, timeout=_SECONDS)

    def _failed(self, error: KubernetesError, regarding: Regarding, reason: str) -> bool:
        self._outage.failed(_advised(error), regarding=_printed(regarding), reason=reason)
        return False

    def _event(
        self, name: str, kind: EventType, regarding: Regarding, reason: str, message: str
    ) -> Mapping[str, object]:
        now = _now()
        involved = {
            "apiVersion": regarding.api_version,
            "kind": regarding.kind,
            "name": regarding.name,
            "namespace": regarding.namespace,
            "uid": regarding.uid,
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": _namespace(regarding)},
            "involvedObject": {key: value for key, value in involved.items() if value},
            "reason": reason,
            "message": _cut(message),
            "type": kind,
            "source": {"component": _COMPONENT},
            "reportingComponent": _COMPONENT,
            "reportingInstance": self._instance,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "eventTime": None,
        }


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _namespace(regarding: Regarding) -> str:
    return regarding.namespace or _NAMESPACE


def _name(regarding: Regarding, reason: str, identity: str) -> str:
    content = msgspec.json.encode((regarding, reason, identity))
    digest = hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()
    # Each part between the dots must end with a letter or a digit.
    return f"{regarding.name[:_MAX_NAME].rstrip('-.')}.{digest}"


def _cut(message: str) -> str:
    encoded = message.encode()
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return message
    room = MAX_MESSAGE_BYTES - len(_ELLIPSIS.encode())
    return encoded[:room].decode(errors="ignore") + _ELLIPSIS


def _printed(regarding: Regarding) -> str:
    place = f"{regarding.namespace}/" if regarding.namespace else ""
    return f"{regarding.kind} {place}{regarding.name}"


def _advised(error: KubernetesError) -> str:
    if error.code != HTTPStatus.FORBIDDEN:
        return str(error)
    return f"{error}; apply the manifests again: their ClusterRole has the rights for events"
