"""The kubectl plugin: `kubectl gpu_metrics top`, `doctor` and `ask`."""

import argparse
from collections.abc import Sequence

from metrics_server import __version__
from metrics_server.commands.main import add_looking, run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command of the plugin; the process ends with its exit status.

    Args:
        arguments: those of the command line, if None.
    """
    run_command(build_parser(), arguments)


def build_parser() -> argparse.ArgumentParser:
    """Return the plugin's parser."""
    parser = argparse.ArgumentParser(
        prog="kubectl gpu_metrics", description="GPU metrics of pods, as HPAs get them."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_looking(commands)
    return parser
