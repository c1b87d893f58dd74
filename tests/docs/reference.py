"""The tables of docs/reference.md, generated from the code.

`make docs` writes them; `--check` fails if one differs from the code.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from metrics_server.api.status import REASONS
from metrics_server.commands.main import build_parser
from metrics_server.config.dialects import DialectConfig
from metrics_server.config.pod_pages import PodEndpointsConfig
from metrics_server.config.readings import ReadingConfig
from metrics_server.config.rules import RuleConfig
from metrics_server.config.sections import Config
from metrics_server.doctor.registry import CHECKS
from metrics_server.errors import RequestError
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.model import MetricRule
from metrics_server.rules.serving import SERVING
from metrics_server.telemetry.metrics import Monitor

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"
_DURATIONS = ("timeout", "maxAge", "lastKnownMaxAge", "window")
_LISTED = re.compile(r'^ +"([a-z-]+)": (.+)$', re.MULTILINE)
_TABLE = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)

Rows = Iterable[tuple[str, ...]]


def tables() -> Mapping[str, str]:
    """Every table that comes from the code, by its name in the page."""
    flags = {f"flags of {name}": _flags(parser) for name, parser in commands().items()}
    return {
        **{name: _table(("flag", "meaning"), rows) for name, rows in flags.items()},
        **{
            name: _table(("setting", "default", "meaning"), rows)
            for name, rows in (
                ("settings", settings()),
                ("settings of a rule", settings(RuleConfig, "rules[].")),
                ("settings of a dialect", settings(DialectConfig, "dialects[].")),
                (
                    "settings of endpoints of pods",
                    settings(PodEndpointsConfig, "podPages.endpoints[]."),
                ),
            )
        },
        "metrics": _table(
            ("metric", "unit", "target", "what it is", "read from"), _metrics(CATALOGUE)
        ),
        "metrics of engines": _table(
            ("metric", "unit", "target", "what it is", "read from"), _metrics(SERVING)
        ),
        "checks": _table(("check", "for", "what it answers"), _checks()),
        "errors": _table(("status", "reason", "when"), _errors()),
        "own metrics": _table(("metric", "type", "what it is"), _own_metrics()),
    }


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command."""
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("there are no commands")


def settings(section: type[BaseModel] = Config, path: str = "") -> Iterator[tuple[str, str, str]]:
    """The path, default and description of every setting of the configuration file."""
    for name, field in section.model_fields.items():
        here = f"{path}{field.alias or name}"
        if isinstance(field.default, BaseModel):
            yield from settings(type(field.default), f"{here}.")
        elif here == "rules[].readings":
            yield f"`{here}`", "required", field.description or ""
            yield from settings(ReadingConfig, f"{here}[].")
        elif field.is_required():
            yield f"`{here}`", "required", field.description or ""
        else:
            yield f"`{here}`", _default(here, field.default), field.description or ""


def reasons(error: type[RequestError]) -> Mapping[str, str]:
    """When a request gets an error, by the reason in the server's own metrics."""
    text = error.__doc__ or ""
    return dict(_LISTED.findall(text)) or {error.reason: text.split("\n")[0]}


def _flags(parser: argparse.ArgumentParser) -> Rows:
    for action in parser._actions:
        if action.dest != "help":
            flags = action.option_strings or [str(action.metavar)]
            names = ", ".join(f"`{flag}`" for flag in flags)
            yield names, (action.help or "") % {"default": action.default}


def _default(path: str, value: object) -> str:
    if isinstance(value, bool):
        return f"`{value}`".lower()
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return ", ".join(f"`{one.namespace}/{one.name}`" for one in value)
    if path.rsplit(".", 1)[-1] in _DURATIONS:
        return f"`{value:g}s`"
    if isinstance(value, tuple):
        return f"`[{', '.join(value)}]`"
    if value in ("", None):
        return "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _metrics(rules: Iterable[MetricRule]) -> Rows:
    means = {rule.name for rule in rules}
    for rule in rules:
        # Not a sum or maximum of another.
        if re.sub("_(sum|max)$", "", rule.name) not in means - {rule.name}:
            families = ", ".join(dict.fromkeys(f"`{reading.family}`" for reading in rule.readings))
            yield f"`{rule.name}`", rule.unit, f"`{rule.target}`", rule.help, families


def _checks() -> Rows:
    scopes = {"cluster": "the cluster", "workload": "a workload", "hpa": "an HPA"}
    for check in CHECKS:
        yield f"[`{check.name}`](doctor.md#{check.name})", scopes[check.scope], check.about


def _errors(root: type[RequestError] = RequestError) -> Rows:
    for error in root.__subclasses__():
        for reason, when in reasons(error).items():
            yield f"{error.code} {REASONS[error.code]}", f"`{reason}`", when
        yield from _errors(error)
    if root is RequestError:
        yield "500 InternalError", "`internal`", "A bug in the server; see its log."


def _own_metrics() -> Rows:
    registry = CollectorRegistry()
    monitor = Monitor(registry)
    monitor.follow_watches({"pods": lambda: 0})
    monitor.follow_sizes({"pods": lambda: 0})
    monitor.follow_hpa_findings(dict)
    monitor.follow_log(lambda: 0)
    monitor.follow_ahead(lambda: 0, {"used": lambda: 0})
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield f"`{name}`", family.type, family.documentation


def _table(heading: tuple[str, ...], rows: Rows) -> str:
    head = f"| {' | '.join(heading)} |\n{'|---' * len(heading)}|\n"
    return head + "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def written(text: str) -> str:
    """The page with its tables generated from the code.

    Raises:
        KeyError: there is no such table.
        ValueError: a table has no place in the page.
    """
    known = tables()
    missing = known.keys() - {name for _, name, _ in _TABLE.findall(text)}
    if missing:
        raise ValueError(f"docs/reference.md has no place for: {', '.join(sorted(missing))}")
    return _TABLE.sub(lambda m: f"{m[1]}\n{known[m[2]]}\n{m[3]}", text)


def main() -> int:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if they differ")
    text = PAGE.read_text(encoding="utf-8")
    new = written(text)
    if parser.parse_args().check:
        if new != text:
            sys.stderr.write("docs/reference.md is not as the code has it: run `make docs`\n")
        return int(new != text)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
