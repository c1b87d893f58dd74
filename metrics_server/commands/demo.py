"""The command `demo`: the whole loop on loopback, with simulated GPUs."""

import argparse
from typing import get_args

from metrics_server.commands import flags
from metrics_server.commands.running import options_of, run
from metrics_server.simulator.demo.options import DemoOptions, FaultName, MetricType, Signal
from metrics_server.simulator.demo.run import demo
from metrics_server.telemetry import logs

_DEFAULTS = DemoOptions()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags, and the function that runs it."""
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--duration",
        type=flags.duration,
        metavar="DURATION",
        help="stop after this time (default: run until interrupted)",
    )
    parser.add_argument(
        "--nodes",
        type=flags.nodes,
        default=_DEFAULTS.nodes,
        metavar="N",
        help="simulated nodes, each with 4 GPUs (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=flags.port,
        default=_DEFAULTS.port,
        metavar="PORT",
        help="the server's port; 0 picks a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--signal",
        choices=get_args(Signal),
        default=_DEFAULTS.signal,
        help="what the HPA scales on: GPU utilization, or the queue of inference engines "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--fault",
        choices=get_args(FaultName),
        help="what fails in the middle of the demo, on every exporter or on one (default: nothing)",
    )
    parser.add_argument(
        "--metric-type",
        choices=get_args(MetricType),
        default=_DEFAULTS.metric_type,
        help="the type of the HPA's metric, or of the first of them (default: %(default)s)",
    )
    parser.add_argument(
        "--open",
        action="store_true",
        help="show the demo in a browser too, with a load, faults and an HPA to change",
    )
    parser.add_argument(
        "--page",
        action="store_true",
        help="as --open, but only print the URL: over ssh, or without a display",
    )
    parser.add_argument(
        "--page-port",
        type=flags.port,
        metavar="PORT",
        help="the port of that page; 0 picks a free one (default: 8470, or a free one)",
    )


def _run(arguments: argparse.Namespace) -> int:
    # The demo's table shows what the server's warnings would.
    logs.configure("error")
    run(demo(options_of(DemoOptions, arguments)))
    return 0
