"""Runs every benchmark of this package and prints its figures."""

import sys
from importlib import import_module
from pkgutil import iter_modules

import tests.bench
from tests.bench import Figure


def main() -> None:
    """Print a line a figure."""
    for module in iter_modules(tests.bench.__path__):
        if module.name == "__main__":
            continue
        for figure in _figures(f"tests.bench.{module.name}"):
            sys.stdout.write(f"{figure.name}: {figure.value:.4g} {figure.unit}\n")
            sys.stdout.flush()


def _figures(module: str) -> list[Figure]:
    figures: list[Figure] = import_module(module).run()
    return figures


if __name__ == "__main__":
    main()
