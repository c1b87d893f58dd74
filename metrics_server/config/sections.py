"""What can be configured: the sections of the configuration file, and the flags of `serve`."""

from collections import Counter
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from metrics_server.config.dialects import DialectConfigs
from metrics_server.config.forms import (
    AbsolutePath,
    ConfigPath,
    DnsLabel,
    DnsName,
    ExporterUrl,
    PortName,
    ResourcePattern,
    ServerName,
    UserName,
    is_in_the_clear,
)
from metrics_server.config.rules import RuleConfigs
from metrics_server.config.values import PositiveDuration, Section
from metrics_server.rules.presets import GPU_RESOURCES, SERVICES


class ExporterTlsConfig(Section):
    """How exporters behind TLS are verified. Verification cannot be turned off."""

    ca_file: ConfigPath | None = Field(
        None, description="Authorities to verify exporters by, PEM; without it the system's."
    )
    server_name: ServerName | None = Field(
        None, description="The name in their certificates, where it is not their address."
    )


class ExporterAuthConfig(Section):
    """What exporters are shown; files are read again each minute."""

    bearer_token_file: ConfigPath | None = Field(None, description="A file with a bearer token.")
    username: UserName | None = Field(None, description="The user of basic authentication.")
    password_file: ConfigPath | None = Field(None, description="A file with that user's password.")

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and passwordFile go together")
        if self.username is not None and self.bearer_token_file is not None:
            raise ValueError("bearerTokenFile and username exclude each other")
        return self

    @property
    def shows_something(self) -> bool:
        """Whether there is anything that must not be sent in the clear."""
        return self.username is not None or self.bearer_token_file is not None


class ServiceConfig(Section):
    """A Service whose endpoints are exporters. What it does not set is that of `exporters`."""

    namespace: DnsLabel = Field(description="The Service's namespace.")
    name: DnsLabel = Field(description="The Service's name.")
    port: PortName | None = Field(
        None, description="The name of its port; needed only where it cannot be told by itself."
    )
    scheme: Literal["http", "https"] | None = Field(
        None, description="How its exporters are asked, instead of `exporters.scheme`."
    )
    path: AbsolutePath | None = Field(
        None, description="The path of their pages, instead of `exporters.path`."
    )
    tls: ExporterTlsConfig | None = Field(
        None, description="How they are verified, instead of all of `exporters.tls`."
    )
    auth: ExporterAuthConfig | None = Field(
        None, description="What they are shown, instead of all of `exporters.auth`."
    )


class ExportersConfig(Section):
    """Where the GPU exporters are, and how they are scraped."""

    services: tuple[ServiceConfig, ...] = Field(
        tuple(ServiceConfig(namespace=one.namespace, name=one.name) for one in SERVICES),
        strict=False,
        description="Services whose EndpointSlices name the exporters.",
    )
    urls: tuple[ExporterUrl, ...] = Field(
        (), strict=False, description="URLs of exporters, instead of discovery by Services."
    )
    path: AbsolutePath = Field("/metrics", description="The path of the page of an exporter.")
    scheme: Literal["http", "https"] = Field(
        "http", description="How discovered exporters are asked."
    )
    tls: ExporterTlsConfig = Field(
        ExporterTlsConfig(), description="How exporters behind TLS are verified."
    )
    auth: ExporterAuthConfig = Field(ExporterAuthConfig(), description="What exporters are shown.")
    timeout: PositiveDuration = Field(
        2.0, description="How long a scrape of an exporter may take, its turn included."
    )
    max_age: PositiveDuration = Field(
        2.0, description="How long a scrape serves the questions that come after it."
    )
    max_concurrency: int = Field(
        64, ge=1, description="Exporters asked at once; see below for those that hang."
    )
    max_page_bytes: int = Field(
        8 * 1024 * 1024, ge=1024, description="The largest page that is read, in bytes."
    )
    max_page_lines: int = Field(25_000, ge=100, description="The most lines that a page may have.")
    match_nodes_by_address: bool = Field(
        default=False,
        description="Whether an endpoint without nodeName is the node's that has its address.",
    )

    @field_validator("services")
    @classmethod
    def _each_is_named_once(cls, services: tuple[ServiceConfig, ...]) -> tuple[ServiceConfig, ...]:
        named = Counter((one.namespace, one.name, one.port) for one in services)
        for (namespace, name, _), times in named.items():
            if times > 1:
                raise ValueError(f"names the Service {namespace}/{name} twice")
        return services

    @model_validator(mode="after")
    def _credentials_are_not_sent_in_the_clear(self) -> Self:
        in_the_clear: list[str] = []
        if self.urls:
            if self.auth.shows_something:
                in_the_clear += filter(is_in_the_clear, self.urls)
        else:
            for number, service in enumerate(self.services):
                auth = self.auth if service.auth is None else service.auth
                if auth.shows_something and (service.scheme or self.scheme) == "http":
                    where = "" if service.scheme is None else f"services.{number}."
                    in_the_clear.append(f"{where}scheme: http")
        if in_the_clear:
            told = ", ".join(dict.fromkeys(in_the_clear))
            raise ValueError(f"auth would be sent in the clear, by {told}")
        return self


class PodsConfig(Section):
    """Which pods are measured."""

    gpu_resources: tuple[ResourcePattern, ...] = Field(
        GPU_RESOURCES,
        strict=False,
        min_length=1,
        description="Resources, with * for any characters, that make a pod a GPU pod.",
    )
    measure: Literal["ready", "running"] = Field(
        "ready", description="`ready` measures Ready pods; `running` all Running ones."
    )
    namespaces: tuple[DnsLabel, ...] = Field(
        (),
        strict=False,
        description="The only namespaces to watch and to answer for; none means all.",
    )


class SimulatedConfig(Section):
    """The simulated utilization, in percent."""

    base: float = Field(60.0, ge=0, le=100, strict=False, description="Its least value.")
    spread: float = Field(
        30.0, ge=0, le=100, strict=False, description="How far above it a value may be."
    )

    @model_validator(mode="after")
    def _is_a_percentage(self) -> Self:
        if self.base + self.spread > 100:  # noqa: PLR2004 - percent
            raise ValueError("base + spread must not be above 100")
        return self


class FallbackConfig(Section):
    """What is answered when there is no measurement."""

    chain: tuple[Literal["last-known", "simulated", "error"], ...] = Field(
        ("last-known", "simulated"),
        strict=False,
        min_length=1,
        description="What is tried, in order; `error` ends it, and the HPA keeps its replicas.",
    )
    last_known_max_age: PositiveDuration = Field(
        60.0, description="How old a real value may be to be told again."
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
            raise ValueError("chain names a kind twice")
        if "error" in self.chain[:-1]:
            raise ValueError("chain goes on after error, which ends it")
        return self


class CertificatesConfig(Section):
    """Where `--self-managed-certs` keeps the serving certificate, and what it is for."""

    service: DnsLabel = Field(
        "gpu-metrics-server", description="The Service that the APIService names."
    )
    namespace: DnsLabel = Field(
        "gpu-monitoring", description="The namespace of it, and of the Secret."
    )
    secret: DnsName = Field(
        "gpu-metrics-server-certificates", description="The Secret that the replicas share."
    )


class Config(Section):
    """The configuration file."""

    exporters: ExportersConfig = Field(
        ExportersConfig(), description="Where the GPU exporters are, and how they are scraped."
    )
    pods: PodsConfig = Field(PodsConfig(), description="Which pods are measured.")
    fallback: FallbackConfig = Field(
        FallbackConfig(), description="What is answered when there is no measurement."
    )
    certificates: CertificatesConfig = Field(
        CertificatesConfig(),
        description="Where `--self-managed-certs` keeps the certificate, and what it is for.",
    )
    rules: RuleConfigs = Field(
        (), strict=False, description="Rules added to the catalogue, or replacing one by name."
    )
    dialects: DialectConfigs = Field(
        (),
        strict=False,
        description="How more exporters label their rows; they go before the built-in dialects.",
    )
    gauges: bool = Field(
        default=True,
        description="Whether a gauge of an exporter can be asked for by its own name.",
    )
