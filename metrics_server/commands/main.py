"""The command line."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TypeVar, get_args

import msgspec
import uvloop

from metrics_server import __version__
from metrics_server.commands import flags as flag_types
from metrics_server.commands import rules as rules_command
from metrics_server.commands.certs import CertsOptions, write_certificates
from metrics_server.config.file import load_config
from metrics_server.config.options import ServeOptions
from metrics_server.config.sections import CertificatesConfig, Config
from metrics_server.errors import ConfigurationError, KubernetesError
from metrics_server.http.sockets import allow_open_files
from metrics_server.simulator.demo.run import DemoOptions, FaultName, demo
from metrics_server.telemetry import logs
from metrics_server.wiring.server import serve

_DEFAULTS = ServeOptions()
_DEMO_DEFAULTS = DemoOptions()
_DEFAULT_CERTIFICATES = CertificatesConfig()

Flags = TypeVar("Flags", ServeOptions, DemoOptions, CertsOptions)


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
    except KubernetesError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)  # noqa: T201 - as above
        status = 1
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
    _add_certs(commands.add_parser("certs", help="write a certificate for who keeps their own"))
    rules_command.add_arguments(commands.add_parser("rules", help="print the metrics served"))
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
        help="the address to listen on; 0.0.0.0 or :: for all, IPv4 and IPv6 "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--secure-port",
        type=flag_types.port,
        default=_DEFAULTS.secure_port,
        metavar="PORT",
        help="the port to listen on; 0 takes a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--tls-cert-file",
        type=Path,
        metavar="FILE",
        help="the serving certificate, with its chain, PEM; read anew when it changes",
    )
    parser.add_argument(
        "--tls-private-key-file", type=Path, metavar="FILE", help="the certificate's key, PEM"
    )
    parser.add_argument(
        "--cert-dir",
        type=Path,
        metavar="DIR",
        help="a folder with both, as tls.crt and tls.key; they are read anew when they change",
    )
    parser.add_argument(
        "--self-managed-certs",
        action="store_true",
        help="make and renew the certificate, and keep the APIService's caBundle in step",
    )
    parser.add_argument(
        "--client-ca-file",
        type=Path,
        metavar="FILE",
        help="authorities of users' client certificates, PEM; followed as it changes "
        "(default: as the cluster has them)",
    )
    parser.add_argument(
        "--requestheader-client-ca-file",
        type=Path,
        metavar="FILE",
        help="authorities of front proxies, PEM; followed as it changes "
        "(default: as the cluster has them)",
    )
    parser.add_argument(
        "--requestheader-allowed-names",
        type=flag_types.names,
        default=_DEFAULTS.requestheader_allowed_names,
        metavar="NAMES",
        help="common names of front proxies, with commas between; goes with the file above",
    )
    parser.add_argument(
        "--requestheader-uid-headers",
        type=flag_types.names,
        default=_DEFAULTS.requestheader_uid_headers,
        metavar="NAMES",
        help="headers with a user's UID, such as X-Remote-Uid (default: as the cluster has them)",
    )
    parser.add_argument(
        "--authorization-always-allow-paths",
        type=flag_types.paths,
        default=_DEFAULTS.always_allow_paths,
        dest="always_allow_paths",
        metavar="PATHS",
        help="paths that anyone may ask for (default: /healthz,/livez,/readyz)",
    )
    parser.add_argument(
        "--exporter",
        action="append",
        default=[],
        type=flag_types.exporter_url,
        dest="exporters",
        metavar="URL",
        help="an exporter's page, instead of discovery; can be repeated",
    )
    parser.add_argument(
        "--shutdown-delay-duration",
        type=flag_types.duration,
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


def _add_certs(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_certs)
    parser.add_argument(
        "--service",
        type=flag_types.dns_label,
        default=_DEFAULT_CERTIFICATES.service,
        metavar="NAME",
        help="the Service that the APIService names (default: %(default)s)",
    )
    parser.add_argument(
        "--namespace",
        type=flag_types.dns_label,
        default=_DEFAULT_CERTIFICATES.namespace,
        metavar="NAME",
        help="its namespace (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder to write to; nothing in it is overwritten",
    )
    parser.add_argument(
        "--days",
        type=flag_types.days,
        default=365,
        metavar="N",
        help="how long the certificate is valid (default: %(default)s)",
    )


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_demo)
    parser.add_argument(
        "--duration",
        type=flag_types.duration,
        metavar="DURATION",
        help="end by itself after this time (default: run until interrupted)",
    )
    parser.add_argument(
        "--nodes",
        type=flag_types.nodes,
        default=_DEMO_DEFAULTS.nodes,
        metavar="N",
        help="simulated nodes, each with 4 GPUs (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=flag_types.port,
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


def _certs(options: argparse.Namespace) -> int:
    print(write_certificates(_flags(CertsOptions, options)), end="")  # noqa: T201 - its output
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
    allow_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(command)
