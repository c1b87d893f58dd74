"""Values of flags, parsed from their text, and flags that commands share."""

import argparse
import re
from pathlib import Path

from metrics_server.config.forms import parse_dns_label, parse_exporter_url
from metrics_server.config.values import parse_duration

_MAX_DEMO_NODES = 100
_MAX_DAYS = 3650


def port(text: str) -> int:
    """A port; 0 for any free one."""
    return _whole(text, 0, 65535)


def boolean(text: str) -> bool:
    """True or false, as Kubernetes' own flags accept them."""
    values = {"true": True, "false": False}
    if text not in values:
        raise argparse.ArgumentTypeError(f"{text} is neither true nor false")
    return values[text]


def nodes(text: str) -> int:
    """A demo's number of nodes."""
    return _whole(text, 1, _MAX_DEMO_NODES)


def days(text: str) -> int:
    """A certificate's lifetime in days."""
    return _whole(text, 1, _MAX_DAYS)


def names(text: str) -> tuple[str, ...]:
    """Values separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def exporter_url(text: str) -> str:
    """The URL of an exporter's page."""
    try:
        return parse_exporter_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def dns_label(text: str) -> str:
    """The name of a namespace or a Service."""
    try:
        return parse_dns_label(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def paths(text: str) -> tuple[str, ...]:
    """Paths separated by commas."""
    found = names(text)
    for path in found:
        if not path.startswith("/"):
            raise argparse.ArgumentTypeError(f"{path} does not begin with /")
    return found


def duration(text: str) -> float:
    """A duration such as 2s, in seconds."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the flag for the server's configuration file."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration file (default: the defaults of all settings)",
    )


def _whole(text: str, least: int, greatest: int) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= greatest:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least} to {greatest}")
    return int(text)


def add_kubeconfig(parser: argparse.ArgumentParser) -> None:
    """Add the flag that says which cluster."""
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        metavar="FILE",
        help="how to reach the Kubernetes API (default: as kubectl does, or as the pod's account)",
    )
