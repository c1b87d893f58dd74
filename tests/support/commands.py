"""The command as a process, its flags, and a client of it."""

from argparse import _SubParsersAction
from pathlib import Path

from msgspec import Struct

from metrics_server.commands.main import build_parser
from metrics_server.simulator.demo.options import DemoOptions
from metrics_server.wiring.options import ServeOptions
from tests.support.harness import write_kubeconfig

COMMANDS: dict[str, type[Struct]] = {"serve": ServeOptions, "demo": DemoOptions}


def flags(command: str) -> dict[str, str]:
    """The flags of a command, by the names of their options' fields."""
    for action in build_parser()._actions:
        if isinstance(action, _SubParsersAction):
            actions = action.choices[command]._actions
            return {one.dest: one.option_strings[-1] for one in actions if one.dest != "help"}
    raise AssertionError


FLAGS = {command: flags(command) for command in COMMANDS}


def kubeconfig(folder: Path, url: str) -> Path:
    """A kubeconfig for the API at a URL, in a folder."""
    return write_kubeconfig(folder / "kubeconfig", url)
