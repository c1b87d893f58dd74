"""The command `rules`: the metrics that a configuration serves, as a table or as YAML."""

import argparse
import re
import shutil
import sys
from pathlib import Path
from textwrap import fill

import yaml

from metrics_server.commands import flags
from metrics_server.common.text import counted
from metrics_server.config.file import load_config
from metrics_server.config.rules import rules_in_force
from metrics_server.config.sections import Config
from metrics_server.errors import ConfigurationError
from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import MetricRule, Reading

_GAUGES = "Gauges available under their own names (Value), and as NAME_sum (AverageValue):"
_MOST_COLUMNS = 100
_HEADINGS = ("NAME", "UNIT", "TARGET", "GPUS", "PODS", "WINDOW", "READ FROM, IN THIS ORDER")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags, and the function that runs it."""
    parser.set_defaults(run=_run)
    flags.add_config(parser)
    parser.add_argument(
        "--check",
        action="store_true",
        help="only check the file: 0 if the server can use it, 1 and what is wrong if it cannot",
    )
    parser.add_argument(
        "--output",
        choices=("table", "yaml"),
        default="table",
        help="a table, or YAML for a configuration file (default: %(default)s)",
    )


def _run(options: argparse.Namespace) -> int:
    if options.check:
        return _check(options.config)
    config = load_config(options.config) if options.config else Config()
    rules = rules_in_force(config.rules, gauges=config.gauges, prometheus=config.prometheus.use)
    as_text = _as_yaml if options.output == "yaml" else _as_table
    sys.stdout.write(as_text(rules))
    return 0


def _check(file: Path | None) -> int:
    """Print whether a configuration file can be used, and return the exit status."""
    if file is None:
        raise ConfigurationError("--check needs --config FILE")
    try:
        config = load_config(file)
    except ConfigurationError as error:
        sys.stdout.write(_wrapped(str(error)))
        return 1
    rules = rules_in_force(config.rules, gauges=config.gauges, prometheus=config.prometheus.use)
    sys.stdout.write(f"{file}: valid, {counted(len(rules.names()), 'metric')}\n")
    return 0


def _wrapped(text: str) -> str:
    """Return a text wrapped to fit a terminal, with continuation lines indented."""
    width = min(_MOST_COLUMNS, shutil.get_terminal_size().columns)
    return "".join(
        fill(
            line,
            width=width,
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        + "\n"
        for line in text.splitlines()
    )


def _as_table(rules: Rules) -> str:
    rows = [_HEADINGS, *(_row(rule, _read_like(rule, rules)) for rule in rules)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    gauges = ", ".join(rules.gauges()) or "none (gauges: false)"
    told = fill(gauges, width=100, initial_indent="  ", subsequent_indent="  ")
    return "\n".join([*lines, "", _GAUGES, told, ""])


def _read_like(rule: MetricRule, rules: Rules) -> str:
    """The mean that a rule is the sum or maximum of, with the same readings; "" if none."""
    base = re.sub("_(sum|max)$", "", rule.name)
    alike = any(one.name == base and one.readings == rule.readings for one in rules)
    return base if alike and base != rule.name else ""


def _row(rule: MetricRule, like: str) -> tuple[str, ...]:
    window = f"{rule.window}s" if rule.window else "-"
    families = f"as {like}" if like else ", ".join(map(_source, rule.readings))
    if rule.query is not None:
        families = " ".join(rule.query.text.split())
    return rule.name, rule.unit, rule.target, rule.over_gpus, rule.over_pods, window, families


def _source(reading: Reading) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in reading.where)
    family = f"{reading.family}{{{labels}}}" if labels else reading.family
    if reading.rate:
        family = f"rate({family})"
    if reading.quantile is not None:
        family = f"quantile({reading.quantile:g}, {family})"
    whole = " + ".join(reading.divided_by)
    if whole:
        family += f" / ({whole})" if len(reading.divided_by) > 1 else f" / {whole}"
    if reading.scale != 1:
        family += f" * {_number(reading.scale)}"
    return f"{family} (beside {reading.beside[0]} or the like)" if reading.beside else family


def _as_yaml(rules: Rules) -> str:
    document = {"rules": list(map(_rule, rules)), "gauges": bool(rules.gauges())}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def _rule(rule: MetricRule) -> dict[str, object]:
    """The rule as `config.rules.RuleConfig` reads it."""
    return {
        "name": rule.name,
        "help": rule.help,
        "unit": rule.unit,
        **_origin(rule),
        "maximum": _number(rule.maximum),
        "overGpus": rule.over_gpus,
        "overPods": rule.over_pods,
        **_sources(rule),
        **(_of_pods(rule) if rule.measures == "pods" else {}),
        "decimals": rule.decimals,
        "window": f"{rule.window}s",
    }


def _origin(rule: MetricRule) -> dict[str, object]:
    """The readings, or the query in place of them."""
    if rule.query is None:
        return {"readings": list(map(_reading, rule.readings))}
    label = rule.query.pod_label
    return {"query": rule.query.text, **({"podLabel": label} if label else {})}


def _sources(rule: MetricRule) -> dict[str, object]:
    """Where it is read, unless that is the default; and whether it measures GPUs or pods."""
    if rule.sources == ("exporters",):
        return {}
    source = rule.sources[0] if len(rule.sources) == 1 else list(rule.sources)
    alone = rule.sources == ("prometheus",)
    return {"source": source, **({"measures": rule.measures} if alone else {})}


def _of_pods(rule: MetricRule) -> dict[str, object]:
    """The settings that only pods' own values have."""
    endpoint = {
        "port": rule.endpoint.port,
        "ports": list(rule.endpoint.ports) or None,
        "path": rule.endpoint.path,
        "scheme": rule.endpoint.scheme,
    }
    said = {name: value for name, value in endpoint.items() if value is not None}
    return {
        "overSeries": rule.over_series,
        **({"endpoint": said} if said else {}),
    }


def _reading(reading: Reading) -> dict[str, object]:
    """The reading as `config.rules.ReadingConfig` reads it, without unused fields."""
    told: dict[str, object] = {
        "family": reading.family,
        "minimum": _number(reading.minimum),
        "maximum": _number(reading.maximum),
        "scale": _number(reading.scale),
        "dividedBy": list(reading.divided_by),
        "where": dict(reading.where),
        "each": list(reading.each),
        "unless": _reading(reading.unless) if reading.unless else {},
        "beside": list(reading.beside),
        "copies": list(reading.copies),
        "zeroBeside": list(reading.zero_beside),
        **({"rate": True} if reading.rate else {}),
        **({} if reading.quantile is None else {"quantile": reading.quantile}),
    }
    return {name: value for name, value in told.items() if value not in ([], {})}


def _number(value: float) -> float | int:
    """The number, as an integer if it is one."""
    return int(value) if value == int(value) else value
