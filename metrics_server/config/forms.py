"""Validates names, URLs and paths in the configuration, so that errors appear at startup."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field
from yarl import URL

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MAX_SUBDOMAIN = 253
_BLANK_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")
_RESOURCE = re.compile(r"[A-Za-z0-9*?]([A-Za-z0-9._*?/-]{0,315}[A-Za-z0-9*?])?")


def parse_exporter_url(url: str) -> str:
    """Return the URL of an exporter's page unchanged, if it is valid.

    Raises:
        ValueError: it is not an exporter URL, or it contains credentials.
    """
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("a URL with credentials would end up in logs; use exporters.auth")
    if not is_http_url(url):
        raise ValueError(f"{url!r} is not a URL such as http://10.0.0.7:9400/metrics")
    return url


def is_http_url(url: str) -> bool:
    """Return whether a text is an HTTP or HTTPS URL."""
    if _BLANK_OR_CONTROL.search(url):
        return False
    try:
        parts = urlsplit(url)
        # The HTTP client must accept it too.
        return _names_a_server(parts) and bool(URL(url).host)
    except ValueError:
        return False


def _names_a_server(parts: SplitResult) -> bool:
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0


def is_in_the_clear(url: str) -> bool:
    """Return whether requests to a URL are not encrypted."""
    return urlsplit(url).scheme != "https"


def parse_dns_label(name: str) -> str:
    """Return the name of a namespace or a Service unchanged, if it is valid.

    Raises:
        ValueError: it is not a DNS label.
    """
    if not _LABEL.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a DNS label: use at most 63 of a-z, 0-9 and -, beginning and "
            "ending with a letter or a digit"
        )
    return name


def _dns_name(name: str) -> str:
    if len(name) > _MAX_SUBDOMAIN or not all(map(_LABEL.fullmatch, name.split("."))):
        raise ValueError(f"{name!r} is not a DNS name: use DNS labels separated by dots")
    return name


def _port_name(name: str) -> str:
    if name.isdecimal():
        raise ValueError(f"{name!r} is a number: use the name of the port in the Service")
    return parse_dns_label(name)


def _resource(pattern: str) -> str:
    if not _RESOURCE.fullmatch(pattern):
        raise ValueError(f"{pattern!r} is not a resource such as nvidia.com/gpu")
    return pattern


def _path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("must begin with /")
    if _BLANK_OR_CONTROL.search(path) or "#" in path:
        raise ValueError("must not contain whitespace, control characters or #")
    return path


def _file(path: Path) -> Path:
    if str(path) == "." or not str(path).isprintable():
        raise ValueError(f"{str(path)!r} is not the path of a file")
    return path


def _user(name: str) -> str:
    # RFC 7617, section 2.
    if ":" in name or not name.isprintable():
        raise ValueError("must not contain a colon or control characters")
    return name


def _server_name(name: str) -> str:
    if not name.isascii() or _BLANK_OR_CONTROL.search(name):
        raise ValueError(f"{name!r} is not a server name")
    return name


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a network such as 10.0.0.0/8: {error}") from error
    return text


ExporterUrl = Annotated[str, AfterValidator(parse_exporter_url)]
DnsLabel = Annotated[str, AfterValidator(parse_dns_label)]
DnsName = Annotated[str, AfterValidator(_dns_name)]
PortName = Annotated[str, AfterValidator(_port_name)]
ResourcePattern = Annotated[str, AfterValidator(_resource)]
AbsolutePath = Annotated[str, AfterValidator(_path)]
ConfigPath = Annotated[Path, Field(strict=False), AfterValidator(_file)]
UserName = Annotated[str, Field(min_length=1), AfterValidator(_user)]
ServerName = Annotated[str, Field(min_length=1), AfterValidator(_server_name)]
IpNetwork = Annotated[str, AfterValidator(_network)]
