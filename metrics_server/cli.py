"""The command line."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TypeVar, get_args

import msgspec
import uvloop

from metrics_server import __version__, logs
from metrics_server.config import (
    Config,
    ServeOptions,
    load_config,
    parse_duration,
    parse_exporter_url,
)
from metrics_server.demo.run import DemoOptions, FaultName, demo
from metrics_server.errors import ConfigurationError
from metrics_server.server import serve

_DEFAULTS = ServeOptions()
_DEMO_DEFAULTS = DemoOptions()
_MAX_DEMO_NODES = 100

Flags = TypeVar("Flags", ServeOptions, DemoOptions)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; the process ends with its exit status.

    Args:
        arguments: those of the command line, if None.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        status = run(options)
    except ConfigurationError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)  # noqa: T201 - before logs, for a person
        status = 2
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line, from which the documents are checked."""
    parser = argparse.ArgumentParser(
        prog="gpu-metrics-server",
        description="GPU utilization for the native Kubernetes HorizontalPodAutoscaler.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_serve(commands.add_parser("serve", help="serve external.metrics.k8s.io/v1beta1"))
    _add_demo(commands.add_parser("demo", help="the whole loop on loopback, with simulated GPUs"))
    return parser


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_serve)
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the configuration file; without it, defaults"
    )
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        metavar="FILE",
        help="how to reach the Kubernetes API (default: as kubectl does, or the pod's own account)",
    )
    parser.add_argument(
        "--bind-address",
        default=_DEFAULTS.bind_address,
        metavar="IP",
        help="the address to listen on (default: %(default)s)",
    )
    parser.add_argument(
        "--secure-port",
        type=_port,
        default=_DEFAULTS.secure_port,
        metavar="PORT",
        help="the port to listen on; 0 takes a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--tls-cert-file",
        type=Path,
        metavar="FILE",
        help="the serving certificate, with its chain, PEM (default: one made for this run)",
    )
    parser.add_argument(
        "--tls-private-key-file", type=Path, metavar="FILE", help="the certificate's key, PEM"
    )
    parser.add_argument(
        "--exporter",
        action="append",
        default=[],
        type=_url,
        dest="exporters",
        metavar="URL",
        help="an exporter's page, instead of discovery; can be repeated",
    )
    parser.add_argument(
        "--shutdown-delay-duration",
        type=_duration,
        default=_DEFAULTS.shutdown_delay,
        dest="shutdown_delay",
        metavar="DURATION",
        help="how long readiness fails before connections are refused (default: 0s)",
    )
    parser.add_argument(
        "-v",
        "--log-level",
        choices=get_args(logs.LogLevel),
        default=_DEFAULTS.log_level,
        help="the least that is logged (default: %(default)s)",
    )
    parser.add_argument(
        "--log-format",
        choices=get_args(logs.LogFormat),
        default=_DEFAULTS.log_format,
        help="one line a fact (default: %(default)s)",
    )


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_demo)
    parser.add_argument(
        "--duration",
        type=_duration,
        metavar="DURATION",
        help="end by itself after this time (default: run until interrupted)",
    )
    parser.add_argument(
        "--nodes",
        type=_nodes,
        default=_DEMO_DEFAULTS.nodes,
        metavar="N",
        help="simulated nodes, each with 4 GPUs (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=_DEMO_DEFAULTS.port,
        metavar="PORT",
        help="the port of the server; 0 takes a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--fault",
        choices=get_args(FaultName),
        help="what goes wrong with every exporter in the middle of the demo (default: nothing)",
    )


def _serve(options: argparse.Namespace) -> int:
    config = load_config(options.config) if options.config else Config()
    flags = _flags(ServeOptions, options)
    logs.configure(flags.log_level, flags.log_format)
    _run(serve(flags, config))
    return 0


def _demo(options: argparse.Namespace) -> int:
    # The demo's own table tells what the server's warnings would.
    logs.configure("error")
    _run(demo(_flags(DemoOptions, options)))
    return 0


def _flags(kind: type[Flags], options: argparse.Namespace) -> Flags:
    """The flags of a command as its struct, whose fields have the flags' names."""
    return msgspec.convert(vars(options), kind, from_attributes=True)


def _run(command: Coroutine[object, object, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(command)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:  # noqa: PLR2004 - TCP's own number
        raise argparse.ArgumentTypeError(f"{text} is no port: it must be from 0 to 65535")
    return port


def _nodes(text: str) -> int:
    nodes = int(text)
    if not 1 <= nodes <= _MAX_DEMO_NODES:
        raise argparse.ArgumentTypeError(f"{text}: it must be from 1 to {_MAX_DEMO_NODES}")
    return nodes


def _url(text: str) -> str:
    try:
        return parse_exporter_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
