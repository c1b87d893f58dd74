"""The sections of the configuration file."""

from collections import Counter
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from metrics_server.config.access import AuthConfig, TlsConfig
from metrics_server.config.dialects import DialectConfigs
from metrics_server.config.forms import (
    AbsolutePath,
    DnsLabel,
    DnsName,
    ExporterUrl,
    PortName,
    ResourcePattern,
    is_in_the_clear,
)
from metrics_server.config.pod_pages import PodPagesConfig
from metrics_server.config.prometheus import PrometheusConfig
from metrics_server.config.rule_sources import check_window
from metrics_server.config.rules import RuleConfigs
from metrics_server.config.values import PositiveDuration, Section
from metrics_server.rules.presets import GPU_RESOURCES, SERVICES


class ServiceConfig(Section):
    """A Service whose endpoints are exporters. Its defaults are the values of `exporters`."""

    namespace: DnsLabel = Field(description="The Service's namespace.")
    name: DnsLabel = Field(description="The Service's name.")
    port: PortName | None = Field(
        None,
        description="The name of its metrics port; needed only if the default choice is wrong.",
    )
    scheme: Literal["http", "https"] | None = Field(
        None, description="How its exporters are scraped, instead of `exporters.scheme`."
    )
    path: AbsolutePath | None = Field(
        None, description="The path of their metrics page, instead of `exporters.path`."
    )
    tls: TlsConfig | None = Field(
        None, description="How they are verified, instead of all of `exporters.tls`."
    )
    auth: AuthConfig | None = Field(
        None, description="Credentials for them, instead of all of `exporters.auth`."
    )


class ExportersConfig(Section):
    """Where the GPU exporters are, and how they are scraped."""

    services: tuple[ServiceConfig, ...] = Field(
        tuple(ServiceConfig(namespace=one.namespace, name=one.name) for one in SERVICES),
        strict=False,
        description="Services whose EndpointSlices list the exporters.",
    )
    urls: tuple[ExporterUrl, ...] = Field(
        (), strict=False, description="URLs of exporters, instead of discovery through Services."
    )
    path: AbsolutePath = Field("/metrics", description="The path of an exporter's metrics page.")
    scheme: Literal["http", "https"] = Field(
        "http", description="How discovered exporters are scraped."
    )
    tls: TlsConfig = Field(TlsConfig(), description="How exporters behind TLS are verified.")
    auth: AuthConfig = Field(AuthConfig(), description="Credentials for exporters.")
    timeout: PositiveDuration = Field(
        2.0, description="How long a scrape may take, including the wait for its turn."
    )
    max_age: PositiveDuration = Field(
        2.0, description="How long a scrape is reused for later requests."
    )
    ask_ahead: bool = Field(
        default=True,
        description="Whether pages are read just before an HPA is expected to ask for them again.",
    )
    max_concurrency: int = Field(
        128, ge=1, description="Pages scraped at once; see below for those that hang."
    )
    max_page_bytes: int = Field(
        8 * 1024 * 1024, ge=1024, description="The largest page that is accepted, in bytes."
    )
    max_page_lines: int = Field(25_000, ge=100, description="How many lines a page may have.")
    match_nodes_by_address: bool = Field(
        default=False,
        description="Whether to assign an endpoint without nodeName to the node with its address.",
    )

    @field_validator("services")
    @classmethod
    def _each_is_named_once(cls, services: tuple[ServiceConfig, ...]) -> tuple[ServiceConfig, ...]:
        named = Counter((one.namespace, one.name, one.port) for one in services)
        for (namespace, name, _), times in named.items():
            if times > 1:
                raise ValueError(f"lists the Service {namespace}/{name} twice")
        return services

    @model_validator(mode="after")
    def _credentials_are_not_sent_in_the_clear(self) -> Self:
        in_the_clear: list[str] = []
        if self.urls:
            if self.auth.has_credentials:
                in_the_clear += filter(is_in_the_clear, self.urls)
        else:
            for number, service in enumerate(self.services):
                auth = self.auth if service.auth is None else service.auth
                if auth.has_credentials and (service.scheme or self.scheme) == "http":
                    where = "" if service.scheme is None else f"services.{number}."
                    in_the_clear.append(f"{where}scheme: http")
        if in_the_clear:
            causes = ", ".join(dict.fromkeys(in_the_clear))
            raise ValueError(f"auth would be sent in the clear, because of {causes}")
        return self


class PodsConfig(Section):
    """Which pods are measured."""

    gpu_resources: tuple[ResourcePattern, ...] = Field(
        GPU_RESOURCES,
        strict=False,
        min_length=1,
        description="Resources that make a pod a GPU pod; * matches any characters.",
    )
    measure: Literal["ready", "running"] = Field(
        "ready", description="`ready` measures only Ready pods; `running`, all Running ones."
    )
    namespaces: tuple[DnsLabel, ...] = Field(
        (),
        strict=False,
        description="The only namespaces to watch and serve; empty means all.",
    )


class SimulatedConfig(Section):
    """The simulated utilization, in percent."""

    base: float = Field(60.0, ge=0, le=100, strict=False, description="The lowest value.")
    spread: float = Field(
        30.0, ge=0, le=100, strict=False, description="How far above `base` a value may be."
    )

    @model_validator(mode="after")
    def _is_a_percentage(self) -> Self:
        if self.base + self.spread > 100:  # noqa: PLR2004 - percent
            raise ValueError("base + spread must be at most 100")
        return self


class FallbackConfig(Section):
    """What to return when there is no measurement."""

    chain: tuple[Literal["last-known", "simulated", "error"], ...] = Field(
        ("last-known", "simulated"),
        strict=False,
        min_length=1,
        description="What to try, in order; with `error`, the HPA keeps its replicas.",
    )
    last_known_max_age: PositiveDuration = Field(
        60.0, description="How old a measured value may be to be returned again."
    )
    min_coverage: float = Field(
        0.5,
        ge=0,
        le=1,
        strict=False,
        description="The share of the selected pods that must have a sample.",
    )
    simulated: SimulatedConfig = Field(
        SimulatedConfig(), description="The range of simulated values."
    )

    @model_validator(mode="after")
    def _chain_makes_sense(self) -> Self:
        if len(set(self.chain)) != len(self.chain):
            raise ValueError("chain lists an entry twice")
        if "error" in self.chain[:-1]:
            raise ValueError("error must be the last entry of chain")
        return self


class CertificatesConfig(Section):
    """Where `--self-managed-certs` keeps the serving certificate, and what it is for."""

    service: DnsLabel = Field(
        "gpu-metrics-server", description="The Service that the APIServices name."
    )
    namespace: DnsLabel = Field(
        "gpu-monitoring",
        description="The namespace of the Service, of the Secret and of the ConfigMap.",
    )
    secret: DnsName = Field(
        "gpu-metrics-server-certificates", description="The Secret that the replicas share."
    )
    config_map: DnsName = Field(
        "gpu-metrics-server-ca",
        description="The ConfigMap in which the CA bundle is published, as `ca.crt`.",
    )


class Config(Section):
    """The configuration file."""

    external_metrics: bool = Field(
        default=True, description="Whether external.metrics.k8s.io is served."
    )
    custom_metrics: bool = Field(
        default=True, description="Whether custom.metrics.k8s.io is served."
    )
    exporters: ExportersConfig = Field(
        ExportersConfig(), description="Where the GPU exporters are, and how they are scraped."
    )
    pods: PodsConfig = Field(PodsConfig(), description="Which pods are measured.")
    pod_pages: PodPagesConfig = Field(
        PodPagesConfig(), description="How the pods' own metrics pages are read."
    )
    prometheus: PrometheusConfig = Field(
        PrometheusConfig(), description="A Prometheus, for rules with `source: prometheus`."
    )
    fallback: FallbackConfig = Field(
        FallbackConfig(), description="What to return when there is no measurement."
    )
    certificates: CertificatesConfig = Field(
        CertificatesConfig(),
        description="Where `--self-managed-certs` keeps the certificate, and what it is for.",
    )
    rules: RuleConfigs = Field(
        (),
        strict=False,
        description="Rules to add to the catalogue, or to replace one of the same name.",
    )
    dialects: DialectConfigs = Field(
        (),
        strict=False,
        description="How other exporters label their rows; tried before the built-in dialects.",
    )
    gauges: bool = Field(
        default=True,
        description="Whether an HPA can ask for an exporter's gauge by its own name.",
    )
    hpa_warnings: bool = Field(
        default=True,
        description="Whether HPAs are watched, and get Warning events if they cannot work.",
    )

    @model_validator(mode="after")
    def _prometheus_is_somewhere(self) -> Self:
        for number, rule in enumerate(self.rules):
            if "prometheus" in rule.sources() and self.prometheus.url is None:
                raise ValueError(
                    f"rules.{number} ({rule.name}) is read from prometheus, but prometheus.url is "
                    "not set"
                )
        return self

    @model_validator(mode="after")
    def _rates_have_a_window(self) -> Self:
        for number, rule in enumerate(self.rules):
            used = rule.rule_with(self.prometheus.use)
            try:
                check_window(rule.readings, used.sources, used.window)
            except ValueError as error:
                raise ValueError(
                    f"rules.{number} ({rule.name}), with prometheus.use: {self.prometheus.use}: "
                    f"{error}"
                ) from None
        return self

    @model_validator(mode="after")
    def _windows_have_two_scrapes(self) -> Self:
        max_age = self.exporters.max_age
        for number, rule in enumerate(self.rules):
            is_over_time = any(one.is_over_time() for one in rule.readings)
            # Without a window, it is over the last two scrapes.
            if is_over_time and "pods" in rule.sources() and 0 < rule.window <= max_age:
                raise ValueError(
                    f"rules.{number} ({rule.name}) needs two scrapes of a pod within its window of "
                    f"{rule.window:g} s, but exporters.maxAge is {max_age:g} s: make it shorter "
                    "than the window"
                )
        return self

    @model_validator(mode="after")
    def _serves_something(self) -> Self:
        if not (self.external_metrics or self.custom_metrics):
            raise ValueError("externalMetrics and customMetrics are both false: nothing is served")
        return self
