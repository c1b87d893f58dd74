"""The prometheus section."""

from pathlib import Path

import pytest

from metrics_server.config.file import load_config
from metrics_server.config.prometheus import PrometheusConfig
from metrics_server.errors import ConfigurationError
from metrics_server.sources.pages.access import AccessFiles
from metrics_server.sources.prometheus.building import prometheus_settings
from metrics_server.sources.prometheus.client import PrometheusSettings

SECRET = "s3cr3t"  # noqa: S105 - to look for where it must not be


def load(folder: Path, text: str) -> PrometheusConfig:
    """The section in a file with this text in it."""
    path = folder / "config.yaml"
    path.write_text(f"prometheus: {text}\n", encoding="utf-8")
    return load_config(path).prometheus


def test_there_is_none_by_default(tmp_path: Path) -> None:
    """Without a URL, nothing is queried."""
    assert prometheus_settings(load(tmp_path, "{}")) is None


def test_the_defaults(tmp_path: Path) -> None:
    """A URL is enough; the defaults are those of the client."""
    config = load(tmp_path, "{url: 'http://prometheus.monitoring:9090'}")
    assert prometheus_settings(config) == PrometheusSettings("http://prometheus.monitoring:9090")
    assert config.max_age == 60


def test_a_whole_section(tmp_path: Path) -> None:
    """Each setting reaches the client."""
    config = load(
        tmp_path,
        """
  url: https://mimir.example/prometheus/
  tls: {caFile: /ca.crt, serverName: mimir, certFile: /tls.crt, keyFile: /tls.key}
  auth: {username: scraper, passwordFile: /password}
  headers: {X-Scope-OrgID: team-a|team-b}
  parameters: {dedup: "true", partial_response: "true", "extra_filters[]": '{env="prod"}'}
  timeout: 1500ms
  maxAge: 2m
  maxConcurrency: 3
  maxSeries: 500
""",
    )
    assert config.max_age == 120
    assert prometheus_settings(config) == PrometheusSettings(
        "https://mimir.example/prometheus/",
        timeout=1.5,
        max_concurrency=3,
        max_series=500,
        headers={"X-Scope-OrgID": "team-a|team-b"},
        parameters={
            "dedup": "true",
            "partial_response": "true",
            "extra_filters[]": '{env="prod"}',
        },
        access=AccessFiles(
            ca_file=Path("/ca.crt"),
            server_name="mimir",
            cert_file=Path("/tls.crt"),
            key_file=Path("/tls.key"),
            username="scraper",
            password_file=Path("/password"),
            setting="prometheus",
        ),
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://prometheus:9090",
        "http://prometheus:9090/",
        "https://[::1]:9090/select/0/prometheus",
        "http://host/api/v1/namespaces/monitoring/services/prometheus:9090/proxy",
    ],
)
def test_urls(tmp_path: Path, url: str) -> None:
    """URLs may have any path."""
    assert load(tmp_path, f"{{url: '{url}'}}").url == url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{url: prometheus:9090}", "prometheus.url: 'prometheus:9090' is not a URL such as http:"),
        ("{url: 'ftp://a/'}", "prometheus.url: 'ftp://a/' is not a URL such as http:"),
        (
            f"{{url: 'http://user:{SECRET}@a/'}}",
            "prometheus.url: a URL with credentials would end up in logs; use prometheus.auth",
        ),
        (
            f"{{url: 'http://a/?token={SECRET}'}}",
            "prometheus.url: must not have a query or a fragment; use prometheus.parameters",
        ),
        ("{url: 'http://a/#b'}", "prometheus.url: must not have a query or a fragment"),
        ("{url: 'http://a/api/v1'}", "prometheus.url: 'http://a/api/v1' must end before /api/v1"),
        ("{url: 'http://a/x/api/v1/query/'}", "prometheus.url: 'http://a/x/api/v1/query/' must"),
        (
            f"{{headers: {{authorization: {SECRET}}}}}",
            "authorization would be a secret in this file; use prometheus.auth",
        ),
        (f"{{headers: {{Cookie: {SECRET}}}}}", "Cookie would be a secret in this file; use"),
        ("{headers: {Host: a}}", "Host cannot be set"),
        ("{headers: {Content-Type: a}}", "Content-Type cannot be set"),
        ("{headers: {'a b': c}}", "'a b' is not the name of a header"),
        ('{headers: {"a\\r\\nb": c}}', "'a\\r\\nb' is not the name of a header"),
        (
            f'{{headers: {{a: "{SECRET}\\r\\nb: c"}}}}',
            "prometheus.headers.a: must be printable ASCII, without blanks at its ends",
        ),
        ("{headers: {a: ' b'}}", "prometheus.headers.a: must be printable ASCII"),
        ("{headers: {a: 'ä'}}", "prometheus.headers.a: must be printable ASCII"),
        ("{headers: {a: b, A: c}}", "prometheus: headers has a name twice, in different case"),
        ("{parameters: {query: up}}", "query cannot be set: it comes from the rule"),
        ("{parameters: {timeout: 1s}}", "timeout cannot be set: it is prometheus.timeout"),
        ("{parameters: {limit: '1'}}", "limit cannot be set: it would leave series out"),
        ("{parameters: {'a&b': c}}", "'a&b' is not the name of a query parameter"),
        ("{parameters: {dedup: true}}", "prometheus.parameters.dedup: must be a text"),
        ("{timeout: 0s}", "prometheus.timeout: must be longer than 0s"),
        ("{maxConcurrency: 0}", "prometheus.maxConcurrency: "),
        ("{maxSeries: 1}", "prometheus.maxSeries: "),
        ("{tls: {certFile: /a}}", "prometheus.tls: certFile and keyFile must be set together"),
        ("{tls: {keyFile: /a}}", "prometheus.tls: certFile and keyFile must be set together"),
        (
            "{url: 'http://a', auth: {bearerTokenFile: /token}}",
            "prometheus: auth would be sent in the clear, because of http://a; allowHttp permits",
        ),
        ("{allowHttp: true}", "prometheus: allowHttp is for credentials, and auth has none"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    """The path of the setting is named, and no secret."""
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, text)
    assert message in str(raised.value)
    assert SECRET not in str(raised.value)


def test_credentials_over_http_with_consent(tmp_path: Path) -> None:
    """Credentials over HTTP can be allowed, for example inside a mesh that encrypts."""
    config = load(tmp_path, "{url: 'http://a', auth: {bearerTokenFile: /token}, allowHttp: true}")
    settings = prometheus_settings(config)
    assert settings is not None
    assert settings.access.allow_http
