"""Restarts of the demo's exporters by kubectl: of one by its pod, of all by their DaemonSet.

They end faults, as a new process would.
"""

from typing import Literal

import msgspec
from aiohttp import web
from msgspec import Struct

from metrics_server.simulator.cluster import Cluster
from metrics_server.simulator.gpus.exporters import SimulatedExporter
from metrics_server.simulator.installation import exporter_pod, exporter_pod_name
from metrics_server.simulator.kube.api import KubernetesAPI
from metrics_server.simulator.kube.objects import DAEMON_SETS, PODS, Object, Resource, metadata
from metrics_server.simulator.kube.statuses import StatusError
from metrics_server.simulator.kube.writes import deletion_of, merged
from metrics_server.simulator.manifests import EXPORTER_NAMESPACE


class _Annotations(Struct, forbid_unknown_fields=True):
    restarted_at: str = msgspec.field(name="kubectl.kubernetes.io/restartedAt")


class _Metadata(Struct, forbid_unknown_fields=True):
    annotations: _Annotations


class _Template(Struct, forbid_unknown_fields=True):
    metadata: _Metadata


class _Spec(Struct, forbid_unknown_fields=True):
    template: _Template


class _Restart(Struct, forbid_unknown_fields=True):
    """What `kubectl rollout restart` sends: this annotation, and nothing else."""

    spec: _Spec


class _Variable(Struct, forbid_unknown_fields=True):
    name: Literal["DCGM_EXPORTER_KUBERNETES"]
    value: Literal["true"]


class _Container(Struct, forbid_unknown_fields=True):
    name: str
    env: tuple[_Variable]


class _PodSpec(Struct):  # with kubectl's own keys for the order of lists
    containers: tuple[_Container]


class _PodTemplate(Struct, forbid_unknown_fields=True):
    spec: _PodSpec


class _PodTemplateSpec(Struct, forbid_unknown_fields=True):
    template: _PodTemplate


class _Labelling(Struct, forbid_unknown_fields=True):
    """What `kubectl set env` sends, as the doctor suggests for pages without pod labels."""

    spec: _PodTemplateSpec


class Restarts:
    """Restarts exporters.

    Args:
        api: the API with their pods and DaemonSet.
        cluster: the cluster that they are in.
    """

    def __init__(self, api: KubernetesAPI, cluster: Cluster) -> None:
        self._api = api
        self._cluster = cluster

    async def control(
        self, request: web.Request, resource: Resource, last: Object
    ) -> Object | None:
        """Perform a write that restarts exporters, and return the answer; None for another write.

        Raises:
            StatusError: an exporter cannot listen again.
        """
        if resource == PODS and request.method == "DELETE":
            name = metadata(last)["name"]
            for exporter in self._cluster.exporters:
                if exporter_pod_name(exporter.node.name) == name:
                    await self._restart(exporter)
                    return deletion_of(resource, last)
        if resource == DAEMON_SETS and request.method == "PATCH":
            body = await request.read()
            restarts = _has_form(body, _Restart)
            if not restarts and not _has_form(body, _Labelling):
                return None
            for exporter in self._cluster.exporters:
                await self._restart(exporter)
            patch: Object = msgspec.json.decode(body) if restarts else {}
            # The variable is not kept, or kubectl would not send it when the fault is set again.
            return self._api.apply(DAEMON_SETS, merged(last, patch))
        return None

    async def _restart(self, exporter: SimulatedExporter) -> None:
        try:
            await self._cluster.restart(exporter)
        except OSError as error:
            raise StatusError(503, f"the exporter cannot listen again: {error}") from error
        node = exporter.node.name
        self._api.delete(PODS, EXPORTER_NAMESPACE, exporter_pod_name(node))
        self._api.apply(PODS, exporter_pod(node))


def _has_form(body: bytes, form: type[Struct]) -> bool:
    try:
        msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, ValueError):
        return False
    return True
