"""The command `doctor`: why an HPA gets no GPU metric, and what to do about it."""

import argparse
import sys
from collections.abc import Sequence

from metrics_server.commands import flags
from metrics_server.commands.looking import (
    add_cluster_flags,
    add_output_flag,
    add_subject_flags,
    aim_of,
    look,
    reached,
    subject_of,
)
from metrics_server.doctor import output
from metrics_server.doctor.aiming import Aim, all_aimed
from metrics_server.doctor.causes import traced
from metrics_server.doctor.model import Outcome
from metrics_server.doctor.reader import Reader, Subject
from metrics_server.doctor.registry import FOLLOWS, checks_for
from metrics_server.doctor.runner import CHECK_SECONDS, run_checks

# Enough to see an exporter that collects every second, as it should.
_WATCHED_SECONDS = 4.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags, and the function that runs it."""
    # 1 means that it has found problems.
    parser.set_defaults(run=_run, unreachable_status=2)
    add_cluster_flags(parser)
    add_subject_flags(parser)
    parser.add_argument(
        "--measure-interval",
        type=flags.duration,
        default=_WATCHED_SECONDS,
        dest="interval",
        metavar="DURATION",
        help="how long to watch exporters' values, to see how often they change; 40s finds slow "
        f"exporters, 0s watches none (default: {_WATCHED_SECONDS:g}s)",
    )
    parser.add_argument(
        "--metric",
        default="gpu_utilization",
        metavar="NAME",
        help="the metric to follow with a selector (default: %(default)s)",
    )
    add_output_flag(parser)


def _run(arguments: argparse.Namespace) -> int:
    subject = subject_of(arguments, metric=arguments.metric, interval=arguments.interval)
    aim = aim_of(arguments)
    outcomes = all_aimed(look(examine(aim, subject)), aim)
    output.write(outcomes, sys.stdout, arguments.output)
    return output.exit_status(outcomes)


async def examine(aim: Aim, subject: Subject) -> Sequence[Outcome]:
    """Run the checks, and trace what they find to its causes.

    Args:
        aim: which cluster.
        subject: what to examine.

    Raises:
        ConfigurationError: no Kubernetes API is configured.
        KubernetesError: it cannot be reached.
    """
    async with reached(aim) as api, Reader(api, subject) as reader:
        seconds = subject.interval + CHECK_SECONDS
        outcomes = await run_checks(checks_for(subject), reader, seconds=seconds)
        return traced(outcomes, FOLLOWS)
