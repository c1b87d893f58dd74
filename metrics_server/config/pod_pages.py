"""The section of the configuration file about the pods' own pages."""

import re
from fnmatch import fnmatchcase
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from metrics_server.config.access import AuthConfig, TlsConfig
from metrics_server.config.forms import DnsLabel, IpNetwork
from metrics_server.config.rules import EndpointConfig
from metrics_server.config.values import Section
from metrics_server.errors import ConfigurationError
from metrics_server.rules.lookup import Rules

_METRICS = re.compile(r"[a-z0-9_.*-]{1,253}")


def _metrics(pattern: str) -> str:
    if not _METRICS.fullmatch(pattern):
        raise ValueError(
            f"{pattern!r} is not the name of a metric such as llm_requests_waiting, nor a pattern "
            "such as llm_*"
        )
    return pattern


MetricPattern = Annotated[str, AfterValidator(_metrics)]


class PodEndpointsConfig(EndpointConfig):
    """Where pods of some namespaces serve their pages, and how the pages are reached.

    A rule's own `endpoint` takes precedence.
    """

    namespaces: tuple[DnsLabel, ...] = Field(
        (),
        strict=False,
        description="The only namespaces of these pods; by default all, but required with `auth`.",
    )
    metrics: tuple[MetricPattern, ...] = Field(
        ("*",),
        strict=False,
        min_length=1,
        description="The only metrics, with their `_sum`; * matches any characters, such as "
        "`inference_*`.",
    )
    tls: TlsConfig = Field(TlsConfig(), description="How pages behind TLS are verified.")
    auth: AuthConfig = Field(
        AuthConfig(), description="Credentials, sent to pods of `namespaces` only."
    )
    allow_http: bool = Field(
        default=False,
        description="Whether the credentials may be sent over plain HTTP, where others could read "
        "them.",
    )

    @model_validator(mode="after")
    def _credentials_are_for_named_pods(self) -> Self:
        if not self.auth.has_credentials:
            if self.allow_http:
                raise ValueError("allowHttp is for credentials, and auth has none")
            return self
        if not self.namespaces:
            raise ValueError(
                "auth needs namespaces: anyone who may create pods in them can get the credentials"
            )
        if self.scheme == "http" and not self.allow_http:
            raise ValueError(
                "auth would be sent in the clear, because of scheme: http; allowHttp permits it"
            )
        return self


class PodPagesConfig(Section):
    """How the pods' own metrics pages are read, by rules with `source: pods`.

    Everything else is as for exporters: timeout, maxAge and maxConcurrency.
    """

    endpoints: tuple[PodEndpointsConfig, ...] = Field(
        (),
        strict=False,
        description="Where the pages of some pods are, and TLS settings and credentials for them; "
        "the first entry that matches applies.",
    )
    max_page_bytes: int = Field(
        4 * 1024 * 1024, ge=1024, description="The largest page that is accepted, in bytes."
    )
    max_page_lines: int = Field(25_000, ge=100, description="How many lines a page may have.")
    max_history_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        description="The memory for earlier scrapes, which rates and quantiles need.",
    )
    host_network: bool = Field(
        default=False,
        description="Whether pods on their node's network are read, where others listen too.",
    )
    networks: tuple[IpNetwork, ...] = Field(
        (),
        strict=False,
        description="Networks of pods with loopback, link-local or other special addresses.",
    )


def check_pod_pages(config: PodPagesConfig, rules: Rules) -> None:
    """Check that each entry of `podPages.endpoints` is for existing metrics.

    Raises:
        ConfigurationError: a name or a pattern matches no metric of the pods' own pages.
    """
    metrics = [rule.name for rule in map(rules.find, rules.known()) if rule.measures == "pods"]
    for number, one in enumerate(config.endpoints):
        for pattern in one.metrics:
            if not any(fnmatchcase(metric, pattern) for metric in metrics):
                raise ConfigurationError(
                    f"podPages.endpoints.{number}.metrics: no rule with source: pods is called "
                    f"{pattern}"
                )
