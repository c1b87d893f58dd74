"""The configuration file and the flags, as frozen values; all problems are told at once."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import yaml
from msgspec import Struct
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from metrics_server.errors import ConfigurationError
from metrics_server.logs import LogFormat, LogLevel

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")


def parse_duration(text: object) -> float:
    """Seconds of a duration as Go and Kubernetes write it: "2s", "500ms", "1m30s".

    Raises:
        ValueError: it is not written so.
    """
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; write it as 2s, 500ms or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be longer than 0s")
    return seconds


def parse_exporter_url(url: str) -> str:
    """The URL of an exporter's page, as it is.

    Raises:
        ValueError: it is none, or it has credentials in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not a URL such as http://10.0.0.7:9400/metrics")
    if parts.username or parts.password:
        raise ValueError("a URL with credentials would end up in logs")
    return url


def _absolute_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("must begin with /")
    return path


Duration = Annotated[float, BeforeValidator(parse_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
ExporterUrl = Annotated[str, AfterValidator(parse_exporter_url)]
AbsolutePath = Annotated[str, AfterValidator(_absolute_path)]
Name = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=to_camel, populate_by_name=True
    )


class ServiceConfig(_Section):
    """A Service whose endpoints are exporters."""

    namespace: Name = Field(description="The Service's namespace.")
    name: Name = Field(description="The Service's name.")
    port: Name | None = Field(
        None, description="The name of its port; needed only where it cannot be told by itself."
    )


_SERVICES = (
    ServiceConfig(namespace="gpu-monitoring", name="dcgm-exporter", port=None),
    ServiceConfig(namespace="gpu-operator", name="nvidia-dcgm-exporter", port=None),
)


class ExportersConfig(_Section):
    """Where the GPU exporters are, and how they are scraped."""

    services: tuple[ServiceConfig, ...] = Field(
        _SERVICES, strict=False, description="Services whose EndpointSlices name the exporters."
    )
    static: tuple[ExporterUrl, ...] = Field(
        (), strict=False, description="URLs of exporters, instead of discovery by Services."
    )
    path: AbsolutePath = Field("/metrics", description="The path of the page of an exporter.")
    timeout: PositiveDuration = Field(
        2.0, description="How long a scrape may take; no answer waits longer."
    )
    max_age: PositiveDuration = Field(
        2.0, description="How long a scrape serves the questions that come after it."
    )
    max_concurrency: int = Field(64, ge=1, description="Connections to exporters at most.")


class PodsConfig(_Section):
    """Which pods are measured."""

    gpu_resources: tuple[Name, ...] = Field(
        ("nvidia.com/gpu", "nvidia.com/mig-*", "amd.com/gpu"),
        strict=False,
        min_length=1,
        description="Resources, with * for any characters, that make a pod a GPU pod.",
    )
    measure: Literal["ready", "running"] = Field(
        "ready", description="`ready` measures Ready pods; `running` all Running ones."
    )
    namespaces: tuple[Name, ...] = Field(
        (),
        strict=False,
        description="The only namespaces to watch and to answer for; none means all.",
    )


class SimulatedConfig(_Section):
    """The simulated utilization, in percent."""

    base: float = Field(60.0, ge=0, le=100, strict=False, description="Its least value.")
    variance: float = Field(
        30.0, ge=0, le=100, strict=False, description="How much may be added, evenly spread."
    )

    @model_validator(mode="after")
    def _is_a_percentage(self) -> Self:
        if self.base + self.variance > 100:  # noqa: PLR2004 - percent
            raise ValueError("base + variance must not be above 100")
        return self


class FallbackConfig(_Section):
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


class Config(_Section):
    """The configuration file."""

    exporters: ExportersConfig = Field(
        ExportersConfig(), description="Where the GPU exporters are, and how they are scraped."
    )
    pods: PodsConfig = Field(PodsConfig(), description="Which pods are measured.")
    fallback: FallbackConfig = Field(
        FallbackConfig(), description="What is answered when there is no measurement."
    )


def load_config(path: Path) -> Config:
    """The configuration of a YAML file.

    Raises:
        ConfigurationError: the file cannot be read or is not YAML, or a setting is wrong; the
            message has a line for each problem, with the setting's path.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document: object = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from error
    try:
        return Config.model_validate({} if document is None else document)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'the file'}: "
            f"{problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        ]
        raise ConfigurationError(f"{path}:\n  " + "\n  ".join(problems)) from error


class ServeOptions(Struct, frozen=True):
    """The flags of `serve`.

    Attributes:
        kubeconfig: how to reach the Kubernetes API; None finds it as kubectl does, or in a pod.
        bind_address: the address to listen on.
        secure_port: the port to listen on; 0 takes any free one.
        tls_cert_file: the serving certificate (chain), PEM; None makes a self-signed pair.
        tls_private_key_file: its key, PEM.
        shutdown_delay: seconds between failing readiness and refusing connections.
        log_level: the least that is logged.
        log_format: one line a fact, as text or JSON.
        exporters: URLs of exporters, instead of discovery.
    """

    kubeconfig: Path | None = None
    bind_address: str = "127.0.0.1"
    secure_port: int = 6443
    tls_cert_file: Path | None = None
    tls_private_key_file: Path | None = None
    shutdown_delay: float = 0
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"
    exporters: Sequence[str] = ()
