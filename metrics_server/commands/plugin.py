"""The kubectl plugin: `kubectl gpu_metrics top`, `doctor` and `ask`."""

from collections.abc import Sequence

from metrics_server.commands.main import build_plugin_parser, run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command of the plugin; the process ends with its exit status.

    Args:
        arguments: those of the command line, if None.
    """
    run_command(build_plugin_parser, arguments)
