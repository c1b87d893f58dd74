"""The command line."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from metrics_server import __version__
from metrics_server.commands import ask, certs, demo, doctor, rules, serve, top
from metrics_server.common.text import printable
from metrics_server.errors import ConfigurationError, KubernetesError

_MAX_ERROR = 2000
# As of a process that ends by SIGPIPE.
_PIPE_CLOSED = 141


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; the process ends with its exit status.

    Args:
        arguments: those of the command line, if None.
    """
    run_command(build_parser(), arguments)


def run_command(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> None:
    """Run a command of a parser; the process ends with its exit status.

    Args:
        parser: the parser of the command line.
        arguments: as for `main`.
    """
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        status = run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # What reads the output has read enough, such as `head`. Nothing is left to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = _PIPE_CLOSED
    except ConfigurationError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)  # noqa: T201 - before logs, for a person
        status = 2
    except KubernetesError as error:
        # What a server sends must not control the terminal.
        print(f"{parser.prog}: {printable(str(error), _MAX_ERROR)}", file=sys.stderr)  # noqa: T201 - as above
        status = getattr(options, "unreachable_status", 1)
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; docs/reference.md is generated from it."""
    parser = argparse.ArgumentParser(
        prog="gpu-metrics-server",
        description=(
            "GPU metrics, and metrics of LLM serving, for the native Kubernetes "
            "HorizontalPodAutoscaler: the server, and commands that look at a cluster or a "
            "configuration."
        ),
        epilog="gpu-metrics-server COMMAND --help lists the flags of a command.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    serve.add_arguments(
        commands.add_parser(
            "serve", help="serve the external and the custom metrics API (*.metrics.k8s.io)"
        )
    )
    certs.add_arguments(
        commands.add_parser("certs", help="write a serving certificate and its authority")
    )
    rules.add_arguments(
        commands.add_parser("rules", help="list the metrics served, or check a configuration file")
    )
    add_looking(commands)
    demo.add_arguments(
        commands.add_parser(
            "demo", help="watch an HPA scale on simulated GPUs, on this machine alone"
        )
    )
    return parser


def add_looking(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands that look at a cluster, which the kubectl plugin has too."""
    doctor.add_arguments(
        commands.add_parser("doctor", help="find out why an HPA gets no metric, and how to fix it")
    )
    ask.add_arguments(commands.add_parser("ask", help="print what an HPA gets for a metric now"))
    top.add_arguments(commands.add_parser("top", help="print what pods use of their GPUs"))
