"""The program in a process in which something is changed first. To be run by `forking.fork`."""

from collections.abc import Sequence

from metrics_server.commands.main import main as program


def main(arguments: Sequence[str]) -> None:
    """Run code, and then the program.

    Args:
        arguments: the code, and the arguments of the program.
    """
    preamble, *line = arguments
    exec(preamble, {})  # noqa: S102 - the tests' own
    program(line)
