"""The command line."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from metrics_server import __version__
from metrics_server.common.text import printable
from metrics_server.errors import ConfigurationError, KubernetesError

# Each has a module of its name here, with its flags.
_LOOKING = {
    "doctor": "find out why an HPA gets no metric, and how to fix it",
    "ask": "print what an HPA gets for a metric now",
    "top": "print what pods use of their GPUs",
}
_COMMANDS = {
    "serve": "serve the external and the custom metrics API (*.metrics.k8s.io)",
    "certs": "write a serving certificate and its authority",
    "rules": "list the metrics served, or check a configuration file",
    **_LOOKING,
    "demo": "watch an HPA scale on simulated GPUs, on this machine only",
}
_MAX_ERROR = 2000
# The exit status of a process that SIGPIPE ends.
_PIPE_CLOSED = 141


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; the process ends with its exit status.

    Args:
        arguments: those of the command line, if None.
    """
    run_command(build_parser, arguments)


def run_command(
    parser_of: Callable[[str | None], argparse.ArgumentParser], arguments: Sequence[str] | None
) -> None:
    """Run a command; the process ends with its exit status.

    Args:
        parser_of: returns the parser of the command line, with the flags of one command.
        arguments: as for `main`.
    """
    words = sys.argv[1:] if arguments is None else arguments
    parser = parser_of(next((word for word in words if not word.startswith("-")), ""))
    options = parser.parse_args(words)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        status = run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output, such as `head`, has read enough. Nothing is left to flush.
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


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of the whole command line; docs/reference.md is generated from it.

    Args:
        command: the only one whose flags are needed; None for all of them.
    """
    parser = argparse.ArgumentParser(
        prog="gpu-metrics-server",
        description=(
            "GPU metrics, and metrics of LLM serving, for the native Kubernetes "
            "HorizontalPodAutoscaler: the server, and commands that look at a cluster or a "
            "configuration."
        ),
        epilog="gpu-metrics-server COMMAND --help lists the flags of a command.",
    )
    _add(parser, _COMMANDS, command)
    return parser


def build_plugin_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of the kubectl plugin, which has the commands that look at a cluster.

    Args:
        command: as for `build_parser`.
    """
    parser = argparse.ArgumentParser(
        prog="kubectl gpu_metrics", description="GPU metrics of pods, as HPAs get them."
    )
    _add(parser, _LOOKING, command)
    return parser


def _add(parser: argparse.ArgumentParser, described: Mapping[str, str], needed: str | None) -> None:
    """Add commands, importing only those that are needed: all of them would take a second."""
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, description in described.items():
        added = commands.add_parser(name, help=description)
        if needed in (None, name):
            import_module(f"metrics_server.commands.{name}").add_arguments(added)
