"""The section of the configuration file about Prometheus, or a server with its query API."""

import re
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from metrics_server.config.access import AuthConfig, TlsConfig
from metrics_server.config.forms import is_http_url, is_in_the_clear
from metrics_server.config.readings import Label
from metrics_server.config.rule_sources import PrometheusUse
from metrics_server.config.values import PositiveDuration, Section

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,99}")
_MAX_VALUE = 4096
# What the client sends itself, or what belongs into another setting.
_AUTH = ("authorization", "proxy-authorization", "cookie")
_OWN_HEADERS = (
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "transfer-encoding",
    "upgrade",
    "user-agent",
)
_OWN_PARAMETERS = {
    "query": "comes from the rule",
    "time": "is the time of the request",
    "timeout": "is prometheus.timeout",
    "lookback_delta": "would leave series out; use prometheus.maxAge",
    "limit": "would leave series out",
}


def _url(url: str) -> str:
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("a URL with credentials would end up in logs; use prometheus.auth")
    # Not shown, as it may have a secret.
    if "?" in url or "#" in url:
        raise ValueError("must not have a query or a fragment; use prometheus.parameters")
    if not is_http_url(url):
        raise ValueError(
            f"{url!r} is not a URL such as http://prometheus.monitoring:9090 or "
            "https://mimir.example/prometheus"
        )
    if re.search(r"/api/v1(/query)?/*$", urlsplit(url).path):
        raise ValueError(f"{url!r} must end before /api/v1")
    return url


def _header(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a header")
    if name.lower() in _AUTH:
        raise ValueError(f"{name} would be a secret in this file; use prometheus.auth")
    if name.lower() in _OWN_HEADERS:
        raise ValueError(f"{name} cannot be set")
    return name


def _parameter(name: str) -> str:
    if not _PARAMETER.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a query parameter")
    if name in _OWN_PARAMETERS:
        raise ValueError(f"{name} cannot be set: it {_OWN_PARAMETERS[name]}")
    return name


def _header_value(text: str) -> str:
    # Not shown, as it may be a secret.
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError("must be printable ASCII, without blanks at its ends")
    return text


PrometheusUrl = Annotated[str, AfterValidator(_url)]
HeaderName = Annotated[str, AfterValidator(_header)]
HeaderValue = Annotated[str, Field(max_length=_MAX_VALUE), AfterValidator(_header_value)]
ParameterName = Annotated[str, AfterValidator(_parameter)]
ParameterValue = Annotated[str, Field(max_length=_MAX_VALUE)]


class PrometheusConfig(Section):
    """A Prometheus, or Thanos, Mimir or VictoriaMetrics, for rules with `source: prometheus`."""

    url: PrometheusUrl | None = Field(
        None,
        description="The URL of Prometheus, or of a server with its query API, up to `/api/v1`.",
    )
    use: PrometheusUse = Field(
        "named",
        description="Which rules are read from it: `named`, those that name `prometheus` as a "
        "source; `second`, also each rule without its own source, for the pods that its pages "
        "have no value for; `only`, the same rules, in place of the pages.",
    )
    where: dict[Label, str] = Field(
        {},
        description="Labels that every series of a rule with readings must have, such as "
        "`cluster: prod` if several clusters share it.",
    )
    tls: TlsConfig = Field(TlsConfig(), description="How it is verified.")
    auth: AuthConfig = Field(AuthConfig(), description="Credentials for it.")
    allow_http: bool = Field(
        default=False,
        description="Whether the credentials may be sent over plain HTTP, where others could read "
        "them.",
    )
    headers: dict[HeaderName, HeaderValue] = Field(
        {}, description="More headers of each query, such as `X-Scope-OrgID` for Mimir."
    )
    parameters: dict[ParameterName, ParameterValue] = Field(
        {},
        description="More parameters of each query, such as `dedup`. By default "
        '`partial_response: "false"` (Thanos) and `deny_partial_response: "1"` '
        "(VictoriaMetrics).",
    )
    timeout: PositiveDuration = Field(
        5.0, description="How long a query may take, including the wait for its turn."
    )
    max_age: PositiveDuration = Field(60.0, description="The age of the oldest sample that counts.")
    max_concurrency: int = Field(
        8, ge=1, le=1000, description="Queries sent at once; three quarters for one namespace."
    )
    max_series: int = Field(
        20_000,
        ge=100,
        le=50_000,
        description="How many series an answer may have, with 1,600 bytes for each.",
    )

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if self.use != "named" and self.url is None:
            raise ValueError(f"use: {self.use} needs the url of Prometheus")
        return self

    @model_validator(mode="after")
    def _headers_are_named_once(self) -> Self:
        if len({name.lower() for name in self.headers}) != len(self.headers):
            raise ValueError("headers has a name twice, in different case")
        return self

    @model_validator(mode="after")
    def _credentials_are_not_sent_in_the_clear(self) -> Self:
        if not self.auth.has_credentials:
            if self.allow_http:
                raise ValueError("allowHttp is for credentials, and auth has none")
            return self
        if self.url is not None and is_in_the_clear(self.url) and not self.allow_http:
            raise ValueError(
                f"auth would be sent in the clear, because of {self.url}; allowHttp permits it"
            )
        return self
