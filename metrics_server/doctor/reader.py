"""What checks read from the cluster, each thing once."""

import os
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Self
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from metrics_server.advising.names import MetricNames
from metrics_server.config.dialects import dialects_in_force
from metrics_server.config.rules import rules_in_force
from metrics_server.config.sections import Config
from metrics_server.doctor.api import Api, decoder
from metrics_server.doctor.asking import Asked
from metrics_server.doctor.exporter_pods import ExporterPods, read_exporter_pods
from metrics_server.doctor.exporters import Found, found_in, ways_of
from metrics_server.doctor.hpa import Event, Hpa
from metrics_server.doctor.installation import Installation, read_installation, read_server_pods
from metrics_server.doctor.installer import Installer
from metrics_server.doctor.objects import ApiService, GpuNode, RunningPod
from metrics_server.doctor.pages import MAX_PAGES, PageReader
from metrics_server.doctor.questions import questions_of
from metrics_server.doctor.shared import Shared
from metrics_server.errors import KubernetesError, ScrapeError
from metrics_server.kube.autoscalers import Autoscaler, MetricType, autoscaler_decoder
from metrics_server.kube.endpoints import decode_endpoint_slice, service_selector
from metrics_server.kube.labels import Selector
from metrics_server.kube.pods import Pod, pod_decoder
from metrics_server.kube.series_selectors import split
from metrics_server.rules.lookup import Rules
from metrics_server.sources.exporters.page import Page
from metrics_server.sources.pages.fetching import PageLimits

_AUTOSCALING = "/apis/autoscaling/v2"
_API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


class Subject(Struct, frozen=True):
    """What to examine.

    Attributes:
        server_namespace: where the server is installed.
        namespace: of the workload or the HPA; "" for the cluster as a whole.
        selector: of the workload's pods; None without one.
        hpa: the name of an HPA; "" without one.
        metric: the metric that is asked for with a selector.
        config: the server's configuration; None to read it from the cluster.
        interval: how many seconds to watch exporters' values for a change; 0 not to.
        direct: whether exporters are read at their own addresses.
    """

    server_namespace: str = "gpu-monitoring"
    namespace: str = ""
    selector: Selector | None = None
    hpa: str = ""
    metric: str = "gpu_utilization"
    config: Config | None = None
    interval: float = 0
    direct: bool = msgspec.field(default_factory=lambda: "KUBERNETES_SERVICE_HOST" in os.environ)


class ReadHpa(Struct, frozen=True):
    """An HPA in full, and as the server's own checks read it."""

    whole: Hpa
    checked: Autoscaler


class Reader:
    """Reads from the cluster; an async context manager.

    Args:
        api: the Kubernetes API.
        subject: what to examine.
    """

    def __init__(self, api: Api, subject: Subject) -> None:
        self.api = api
        self.subject = subject
        self._installation: Shared[None, Installation] = Shared()
        self._server_pods: Shared[None, Sequence[RunningPod]] = Shared()
        self._api_services: Shared[str, ApiService | None] = Shared()
        self._nodes: Shared[None, Sequence[GpuNode]] = Shared()
        self._pods: Shared[str, tuple[Pod, ...]] = Shared()
        self._found: Shared[None, Found] = Shared()
        self._pages: Shared[None, Mapping[str, Page | ScrapeError]] = Shared()
        self._exporter_pods: Shared[None, ExporterPods] = Shared()
        self._hpa: Shared[None, ReadHpa | None] = Shared()
        self._questions: Shared[None, Sequence[Asked]] = Shared()
        self._page_reader: PageReader | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._questions.close()
        await self._pages.close()
        await self._exporter_pods.close()
        if self._page_reader is not None:
            await self._page_reader.close()
        await self._found.close()
        for one in (self._installation, self._server_pods, self._api_services):
            await one.close()
        for other in (self._nodes, self._pods, self._hpa):
            await other.close()

    async def installation(self) -> Installation:
        """The installed server."""
        subject = self.subject
        return await self._installation.get(
            None, lambda: read_installation(self.api, subject.server_namespace, subject.config)
        )

    async def config(self) -> Config:
        """The configuration in force; the defaults, if the server may not be read."""
        if self.subject.config is not None:
            return self.subject.config
        found = await self._installation_if_allowed()
        return Config() if found is None else found.config

    async def installer(self) -> Installer:
        """How the server was installed; from files, if it may not be read."""
        found = await self._installation_if_allowed()
        return Installer() if found is None else found.installer

    async def why_nothing_to_discover(self) -> str:
        """Why the server needs no Service to find exporters through; "" if it needs one."""
        config, found = await self.config(), await self._installation_if_allowed()
        if config.exporters.urls or (found is not None and "exporter" in found.flags):
            return "exporters are listed by URL (exporters.urls, --exporter): nothing to discover"
        if not any("exporters" in rule.sources for rule in await self.rules()):
            return "no metric is read from exporters (prometheus.use: only)"
        return ""

    async def _installation_if_allowed(self) -> Installation | None:
        """The installed server; None if it may not be read."""
        try:
            return await self.installation()
        except KubernetesError as error:
            if error.code != HTTPStatus.FORBIDDEN:
                raise
            return None

    async def rules(self) -> Rules:
        """The metrics in force."""
        config = await self.config()
        return rules_in_force(config.rules, gauges=config.gauges, prometheus=config.prometheus.use)

    async def server_pods(self) -> Sequence[RunningPod]:
        """The server's pods."""
        return await self._server_pods.get(
            None, lambda: read_server_pods(self.api, self.subject.server_namespace)
        )

    async def api_service(self, name: str) -> ApiService | None:
        """An APIService; None if it does not exist."""
        return await self._api_services.get(
            name, lambda: self.api.find(f"{_API_SERVICES}/{name}", ApiService)
        )

    async def nodes(self) -> Sequence[GpuNode]:
        """All nodes."""
        return await self._nodes.get(None, lambda: self.api.list("/api/v1/nodes", decoder(GpuNode)))

    async def pods(self, namespace: str = "") -> tuple[Pod, ...]:
        """The pods of a namespace, or of all."""
        return await self._pods.get(namespace, lambda: self._read_pods(namespace))

    async def found(self) -> Found:
        """The exporters that the server would find."""
        return await self._found.get(None, self._read_found)

    async def page_reader(self) -> PageReader:
        """Reads the exporters' pages."""
        config, found = await self.config(), await self.found()
        if self._page_reader is None:
            self._page_reader = PageReader(
                self.api,
                found.exporters,
                PageLimits(config.exporters.max_page_bytes, config.exporters.max_page_lines),
                dialects_in_force(config.dialects),
                direct=self.subject.direct,
            )
        return self._page_reader

    async def pages(self) -> Mapping[str, Page | ScrapeError]:
        """The exporters' pages, or why there are none, by URL; of `MAX_PAGES` at most."""
        return await self._pages.get(None, self._read_pages)

    async def exporter_pods(self) -> ExporterPods:
        """The pods of the exporters whose pages are read, as far as they can be read."""
        return await self._exporter_pods.get(None, self._read_exporter_pods)

    async def hpa(self) -> ReadHpa | None:
        """The HPA to examine; None if it does not exist."""
        return await self._hpa.get(None, self._read_hpa)

    async def hpas(self) -> Sequence[ReadHpa]:
        """The HPA to examine, or all of the namespace, or of the cluster."""
        if self.subject.hpa:
            one = await self.hpa()
            return [] if one is None else [one]
        decode = autoscaler_decoder(lambda _: True)
        whole = decoder(Hpa)

        def both(raw: Raw) -> ReadHpa:
            return ReadHpa(whole(raw), decode(raw))

        return await self.api.list(
            f"{_AUTOSCALING}{_within(self.subject.namespace)}/horizontalpodautoscalers", both
        )

    async def questions(self) -> Sequence[Asked]:
        """The metrics to examine: of the HPA, or of the selector."""
        return await self._questions.get(None, self._read_questions)

    async def events(self) -> Sequence[Event]:
        """The events of the HPA."""
        path = f"/api/v1{_within(self.subject.namespace)}/events"
        events = await self.api.list(path, decoder(Event))
        return [
            one
            for one in events
            if one.involved_object.kind == "HorizontalPodAutoscaler"
            and one.involved_object.name == self.subject.hpa
        ]

    async def _read_pods(self, namespace: str) -> tuple[Pod, ...]:
        config = await self.config()
        decode = pod_decoder(config.pods.gpu_resources)
        return tuple(await self.api.list(f"/api/v1{_within(namespace)}/pods", decode))

    async def _read_found(self) -> Found:
        config = await self.config()
        query = {"labelSelector": service_selector(ways_of(config))}
        slices = await self.api.list(
            "/apis/discovery.k8s.io/v1/endpointslices", decode_endpoint_slice, query
        )
        return found_in(config, slices)

    async def _read_pages(self) -> Mapping[str, Page | ScrapeError]:
        found, reader = await self.found(), await self.page_reader()
        return (await reader.scrape(list(found.exporters)[:MAX_PAGES])).outcomes

    async def _read_exporter_pods(self) -> ExporterPods:
        exporters = (await self.found()).exporters
        return await read_exporter_pods(self.api, dict(list(exporters.items())[:MAX_PAGES]))

    async def _read_hpa(self) -> ReadHpa | None:
        path = f"{_AUTOSCALING}{_within(self.subject.namespace)}/horizontalpodautoscalers"
        raw = await self.api.find(f"{path}/{quote(self.subject.hpa, safe='')}", Raw)
        if raw is None:
            return None
        decode = autoscaler_decoder(lambda _: True)
        return ReadHpa(msgspec.json.decode(raw, type=Hpa), decode(raw))

    async def _read_questions(self) -> Sequence[Asked]:
        subject = self.subject
        if subject.hpa:
            hpa = await self.hpa()
            if hpa is None:
                return []
            names = MetricNames(await self.rules())
            asked = await questions_of(self.api, hpa.whole, hpa.checked)
            return [one for one in asked if names.may_be_meant(one.metric)]
        served = (await self.config()).external_metrics
        kind: MetricType = "External" if served else "Pods"
        selector, series = split(subject.selector or Selector())
        return [Asked(kind, subject.metric, subject.namespace, selector, series=series)]


def _within(namespace: str) -> str:
    return f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
