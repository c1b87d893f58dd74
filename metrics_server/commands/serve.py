"""The command `serve`: the server."""

import argparse
from pathlib import Path
from typing import get_args

from metrics_server.commands import flags
from metrics_server.commands.running import options_of, run
from metrics_server.config.file import load_config
from metrics_server.telemetry import logs
from metrics_server.wiring.options import ServeOptions
from metrics_server.wiring.server import serve

_DEFAULTS = ServeOptions()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags, and the function that runs it."""
    parser.set_defaults(run=_run)
    flags.add_config(parser)
    for group in ("external", "custom"):
        parser.add_argument(
            f"--{group}-metrics",
            type=flags.boolean,
            metavar="BOOL",
            help=f"whether {group}.metrics.k8s.io is served, true or false; overrides "
            f"{group}Metrics in the configuration file",
        )
    flags.add_kubeconfig(parser)
    parser.add_argument(
        "--bind-address",
        default=_DEFAULTS.bind_address,
        metavar="IP",
        help="the address to listen on; 0.0.0.0 or :: for all, IPv4 and IPv6 "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--secure-port",
        type=flags.port,
        default=_DEFAULTS.secure_port,
        metavar="PORT",
        help="the port to listen on; 0 picks a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--tls-cert-file",
        type=Path,
        metavar="FILE",
        help="the serving certificate with its chain, PEM; reloaded when it changes",
    )
    parser.add_argument(
        "--tls-private-key-file", type=Path, metavar="FILE", help="the certificate's key, PEM"
    )
    parser.add_argument(
        "--cert-dir",
        type=Path,
        metavar="DIR",
        help="a folder with both, as tls.crt and tls.key; reloaded when they change",
    )
    parser.add_argument(
        "--self-managed-certs",
        action="store_true",
        help="issue and renew the certificate, and publish its CA bundle to the APIServices",
    )
    parser.add_argument(
        "--client-ca-file",
        type=Path,
        metavar="FILE",
        help="authorities of users' client certificates, PEM; reloaded when it changes "
        "(default: the cluster's)",
    )
    parser.add_argument(
        "--requestheader-client-ca-file",
        type=Path,
        metavar="FILE",
        help="authorities of front proxies, PEM; reloaded when it changes (default: the cluster's)",
    )
    parser.add_argument(
        "--requestheader-allowed-names",
        type=flags.names,
        default=_DEFAULTS.requestheader_allowed_names,
        metavar="NAMES",
        help="common names of front proxies, separated by commas; requires the file above",
    )
    parser.add_argument(
        "--requestheader-uid-headers",
        type=flags.names,
        default=_DEFAULTS.requestheader_uid_headers,
        metavar="NAMES",
        help="headers with a user's UID, such as X-Remote-Uid (default: the cluster's)",
    )
    parser.add_argument(
        "--authorization-always-allow-paths",
        type=flags.paths,
        default=_DEFAULTS.always_allow_paths,
        dest="always_allow_paths",
        metavar="PATHS",
        help="paths that need no authorization (default: /healthz,/livez,/readyz)",
    )
    parser.add_argument(
        "--exporter",
        action="append",
        default=[],
        type=flags.exporter_url,
        dest="exporters",
        metavar="URL",
        help="URL of an exporter's page, instead of discovery; repeatable",
    )
    parser.add_argument(
        "--shutdown-delay-duration",
        type=flags.duration,
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
        help="the lowest level logged (default: %(default)s)",
    )
    parser.add_argument(
        "--log-format",
        choices=get_args(logs.LogFormat),
        default=_DEFAULTS.log_format,
        help="format of the log, one line per event (default: %(default)s)",
    )


def _run(arguments: argparse.Namespace) -> int:
    switches = {
        "externalMetrics": arguments.external_metrics,
        "customMetrics": arguments.custom_metrics,
    }
    given = {setting: value for setting, value in switches.items() if value is not None}
    config = load_config(arguments.config, given)
    options = options_of(ServeOptions, arguments)
    logs.configure(options.log_level, options.log_format)
    run(serve(options, config))
    return 0
