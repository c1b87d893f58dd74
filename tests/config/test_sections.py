"""The configuration file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.config.file import load_config
from metrics_server.config.sections import Config
from metrics_server.config.values import parse_duration
from metrics_server.errors import ConfigurationError


def write(folder: Path, text: str) -> Path:
    """A configuration file with this text."""
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    """Every setting has a default."""
    assert load_config(write(tmp_path, "# nothing\n")) == Config()


def test_flags_override_the_file(tmp_path: Path) -> None:
    """A flag overrides the file."""
    file = write(tmp_path, "gauges: true\npods: {measure: running}\n")
    overridden = load_config(file, {"gauges": False})
    assert (overridden.gauges, overridden.pods.measure) == (False, "running")
    assert load_config(file, {}) == load_config(file)
    assert load_config(None, {"gauges": False}) == Config(gauges=False)
    assert load_config(write(tmp_path, "# nothing\n"), {"gauges": False}) == Config(gauges=False)
    with pytest.raises(ConfigurationError, match="the flags:\n  gauges: "):
        load_config(None, {"gauges": 3})
    with pytest.raises(ConfigurationError, match=r"config.yaml, with the settings that flags over"):
        load_config(file, {"gauges": 3})
    with pytest.raises(ConfigurationError, match="the file: must be"):
        load_config(write(tmp_path, "[]"), {"gauges": False})


def test_a_whole_file(tmp_path: Path) -> None:
    """Every setting can be set, under its camelCase name."""
    config = load_config(
        write(
            tmp_path,
            """
exporters:
  services:
    - {namespace: a, name: b}
    - {namespace: c, name: d, port: metrics}
  urls: ["https://10.0.0.1:9400/metrics"]
  scheme: https
  tls: {caFile: /ca.crt, serverName: dcgm.example}
  auth: {username: scraper, passwordFile: /password}
  path: /gpu
  timeout: 1500ms
  maxAge: 1m
  maxConcurrency: 8
pods:
  gpuResources: [nvidia.com/gpu]
  measure: running
  namespaces: [default]
fallback:
  chain: [last-known, error]
  lastKnownMaxAge: 30s
  minCoverage: 1
  simulated: {base: 50, spread: 10}
""",
        )
    )
    assert [service.name for service in config.exporters.services] == ["b", "d"]
    assert config.exporters.services[1].port == "metrics"
    assert config.exporters.urls == ("https://10.0.0.1:9400/metrics",)
    assert (config.exporters.scheme, config.exporters.tls.server_name) == ("https", "dcgm.example")
    assert config.exporters.tls.ca_file == Path("/ca.crt")
    assert config.exporters.auth.password_file == Path("/password")
    assert (config.exporters.path, config.exporters.timeout) == ("/gpu", 1.5)
    assert (config.exporters.max_age, config.exporters.max_concurrency) == (60, 8)
    assert config.pods.gpu_resources == ("nvidia.com/gpu",)
    assert (config.pods.measure, config.pods.namespaces) == ("running", ("default",))
    assert config.fallback.chain == ("last-known", "error")
    assert (config.fallback.last_known_max_age, config.fallback.min_coverage) == (30, 1)
    assert (config.fallback.simulated.base, config.fallback.simulated.spread) == (50, 10)


def test_every_problem_is_reported_at_once_by_path(tmp_path: Path) -> None:
    """One run shows everything that is wrong, and where."""
    path = write(
        tmp_path,
        """
exporter: {}
exporters:
  timeout: 2
  maxAge: soon
  urls: [10.0.0.1, "http://user:secret@host/"]
  services: [{namespace: a}]
fallback:
  chain: [error, simulated]
  minCoverage: 2
""",
    )
    with pytest.raises(ConfigurationError) as raised:
        load_config(path)
    lines = str(raised.value).splitlines()
    assert lines[0] == f"{path}:"
    assert sorted(line.strip() for line in lines[1:]) == [
        "exporter: unknown setting; did you mean exporters?",
        "exporters.maxAge: 'soon' is not a duration; write it as 2s, 500ms or 1m30s",
        "exporters.services.0.name: is required",
        "exporters.timeout: 2 is not a duration; write it as 2s, 500ms or 1m30s",
        "exporters.urls.0: '10.0.0.1' is not a URL such as http://10.0.0.7:9400/metrics",
        "exporters.urls.1: a URL with credentials would end up in logs; use exporters.auth",
        "fallback.minCoverage: must be less than or equal to 1",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fallback: {chain: [error, simulated]}", "fallback: error must be the last entry"),
        ("fallback: {chain: [simulated, simulated]}", "fallback: chain lists an entry twice"),
        ("fallback: {chain: []}", "fallback.chain: "),
        ("fallback: {simulated: {base: 90, spread: 30}}", "base + spread must be at most"),
        ("exporters: {timeout: 0s}", "exporters.timeout: must be longer than 0s"),
        ("exporters: {path: metrics}", "exporters.path: must begin with /"),
        (
            "exporters: {auth: {bearerTokenFile: /token}}",
            "exporters: auth would be sent in the clear, because of scheme: http",
        ),
        (
            "exporters: {scheme: https, urls: ['http://a/'], auth: {bearerTokenFile: /token}}",
            "exporters: auth would be sent in the clear, because of http://a/",
        ),
        (
            (
                "exporters: {services: [{namespace: a, name: b, auth: {bearerTokenFile: /t}}, "
                "{namespace: c, name: d, scheme: https, auth: {bearerTokenFile: /t}}]}"
            ),
            "exporters: auth would be sent in the clear, because of scheme: http",
        ),
        (
            (
                "exporters: {scheme: https, auth: {bearerTokenFile: /t}, "
                "services: [{namespace: a, name: b}, {namespace: c, name: d, scheme: http}]}"
            ),
            "exporters: auth would be sent in the clear, because of services.1.scheme: http",
        ),
        ("exporters: {services: [{namespace: a, name: b, path: x}]}", "0.path: must begin with /"),
        ("exporters: {maxPageBytes: 0}", "exporters.maxPageBytes: "),
        ("exporters: {auth: {username: a}}", "username and passwordFile must be set together"),
        (
            "exporters: {auth: {username: a, passwordFile: /p, bearerTokenFile: /t}}",
            "bearerTokenFile and username are mutually exclusive",
        ),
        ("pods: {gpuResources: []}", "pods.gpuResources: "),
        ("pods: {measure: all}", "pods.measure: must be 'ready' or 'running'"),
        (
            "exporters: {urls: ['http://a:70000/']}",
            "exporters.urls.0: 'http://a:70000/' is not",
        ),
        ("exporters: {urls: ['http://a:0/']}", "exporters.urls.0: 'http://a:0/' is not a URL"),
        ("exporters: {urls: ['http://a /']}", "exporters.urls.0: 'http://a /' is not a URL"),
        ("exporters: {urls: ['http://a/ ']}", "exporters.urls.0: 'http://a/ ' is not a URL"),
        ('exporters: {urls: ["http://a/\\r\\nX: y"]}', "exporters.urls.0: "),
        ('exporters: {urls: ["http://a\\e/"]}', "exporters.urls.0: "),
        ("exporters: {urls: ['http://[::1/']}", "exporters.urls.0: "),
        ("exporters: {urls: ['http:///metrics']}", "exporters.urls.0: "),
        ("exporters: {urls: ['http://u@a/']}", "a URL with credentials would end up in logs"),
        ("exporters: {urls: ['ftp://u:p@a/']}", "a URL with credentials would end up in logs"),
        (
            "exporters: {urls: ['HTTP://a/'], auth: {bearerTokenFile: /token}}",
            "exporters: auth would be sent in the clear, because of HTTP://a/",
        ),
        ('exporters: {path: "/a\\r\\nX-Forged: b"}', "exporters.path: must not contain whitespace"),
        ("exporters: {path: '/a b'}", "exporters.path: must not contain whitespace"),
        ("exporters: {services: [{namespace: A, name: b}]}", "0.namespace: 'A' is not a DNS label"),
        ("exporters: {services: [{namespace: a, name: b.c}]}", "0.name: 'b.c' is not a DNS label"),
        ("exporters: {services: [{namespace: '', name: b}]}", "0.namespace: '' is not a DNS label"),
        (f"exporters: {{services: [{{namespace: {'a' * 64}, name: b}}]}}", "is not a DNS label"),
        (
            "exporters: {services: [{namespace: a, name: b, port: '9400'}]}",
            "0.port: '9400' is a number: use the name of the port in the Service",
        ),
        (
            "exporters: {services: [{namespace: a, name: b}, {namespace: a, name: b}]}",
            "exporters.services: lists the Service a/b twice",
        ),
        ('exporters: {tls: {serverName: "a\\nb"}}', "exporters.tls.serverName: "),
        ('exporters: {tls: {caFile: "/a\\0"}}', "exporters.tls.caFile: "),
        ("exporters: {tls: {certFile: /a}}", "exporters.tls: certFile and keyFile must be set to"),
        ("exporters: {tls: {caFile: ''}}", "exporters.tls.caFile: '.' is not the path of a file"),
        ("exporters: {auth: {username: 'a:b', passwordFile: /p}}", "must not contain a colon"),
        ("exporters: {timeout: 25h}", "exporters.timeout: must be at most 24h"),
        (f"exporters: {{timeout: {'9' * 400}s}}", "exporters.timeout: must be at most 24h"),
        ("pods: {namespaces: [Default]}", "pods.namespaces.0: 'Default' is not a DNS label"),
        ("pods: {namespaces: ['kube/system']}", "pods.namespaces.0: 'kube/system' is not a DNS"),
        ("pods: {gpuResources: ['nvidia.com/gpu ']}", "pods.gpuResources.0: "),
        ("fallback: {minCoverage: .nan}", "fallback.minCoverage: must be a finite number"),
        (
            "fallback: {simulated: {base: .nan}}",
            "fallback.simulated.base: must be a finite",
        ),
        ("certificates: {service: 'a.b'}", "certificates.service: 'a.b' is not a DNS label"),
        ("certificates: {secret: 'a..b'}", "certificates.secret: 'a..b' is not a DNS name"),
        ("[]", "the file: "),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_setting_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """An invalid setting is rejected, with its path and what would be valid."""
    with pytest.raises(ConfigurationError) as raised:
        load_config(write(tmp_path, text))
    assert message in str(raised.value)


def test_a_service_may_be_shown_nothing(tmp_path: Path) -> None:
    """A Service's own empty auth means no credentials, so plain HTTP is allowed."""
    config = load_config(
        write(
            tmp_path,
            """
exporters:
  scheme: https
  auth: {bearerTokenFile: /token}
  services:
    - {namespace: a, name: b}
    - {namespace: c, name: d, scheme: http, auth: {}}
""",
        )
    )
    first, second = config.exporters.services
    assert (first.scheme, first.path, first.tls, first.auth) == (None,) * 4
    assert second.auth is not None
    assert not second.auth.has_credentials


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    """The message names the unreadable file."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml cannot be read"):
        load_config(tmp_path / "nowhere.yaml")


@given(st.integers(0, 9), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_durations(hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    """A duration is the sum of its parts."""
    text = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
    total = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    assert parse_duration(text) == pytest.approx(total)


@pytest.mark.parametrize("text", ["", "2", "s", "2 s", "-2s", "2sec", "1e3s", 2, None, "٣s"])
def test_what_is_not_a_duration(text: object) -> None:
    """A number without a unit, or something that only looks like a duration, is rejected."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)
