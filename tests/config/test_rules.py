"""A user's own rules, and the rules in effect."""

from pathlib import Path

import pytest

from metrics_server.config.file import load_config
from metrics_server.config.rules import rules_in_force
from metrics_server.config.sections import Config
from metrics_server.errors import ConfigurationError, UnknownMetricError
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.lookup import Rules
from metrics_server.rules.model import MetricRule, Reading
from metrics_server.rules.serving import SERVING


def load(folder: Path, text: str) -> Config:
    """The configuration in a file with this text."""
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def rules_of(config: Config) -> Rules:
    """The rules in effect with a configuration."""
    return rules_in_force(config.rules, gauges=config.gauges)


def test_a_whole_rule(tmp_path: Path) -> None:
    """Every setting of a rule and of a reading reaches the rule."""
    config = load(
        tmp_path,
        """
rules:
  - name: busy_share.p95
    help: how busy
    unit: percent
    readings:
      - {family: DCGM_FI_PROF_SM_ACTIVE, maximum: 1.01, scale: 100}
      - family: gpu_clock
        minimum: 1
        maximum: 3000
        scale: 0.05
        dividedBy: [gpu_max_clock]
        where: {clock_type: system}
        each: [clock_index]
    maximum: 100
    overGpus: max
    overPods: p95
    decimals: 1
    window: 1m30s
""",
    )
    assert rules_of(config).find("busy_share.p95") == MetricRule(
        name="busy_share.p95",
        help="how busy",
        unit="percent",
        readings=(
            Reading("DCGM_FI_PROF_SM_ACTIVE", 0, 1.01, scale=100),
            Reading(
                "gpu_clock",
                1,
                3000,
                scale=0.05,
                divided_by=("gpu_max_clock",),
                where=(("clock_type", "system"),),
                each=("clock_index",),
            ),
        ),
        maximum=100,
        over_gpus="max",
        over_pods="p95",
        decimals=1,
        window=90,
    )


def test_a_rule_needs_little(tmp_path: Path) -> None:
    """A name and readings are enough: a mean of now, in whole numbers, up to what they can give."""
    config = load(
        tmp_path,
        "rules: [{name: a, readings: [{family: X, maximum: 50, scale: 2}, "
        "{family: Y, maximum: 9, scale: 300, dividedBy: [Y, Z]}]}]",
    )
    rule = rules_of(config).find("a")
    assert (rule.maximum, rule.over_gpus, rule.over_pods) == (300, "avg", "avg")
    assert (rule.decimals, rule.window, rule.unit, rule.help) == (0, 0, "", "")


def test_a_rule_replaces_the_built_in_of_its_name(tmp_path: Path) -> None:
    """The catalogue keeps its other rules, and their order."""
    text = "rules: [{name: gpu_utilization, window: 30s, readings: [{family: X, maximum: 1}]}]"
    rules = rules_of(load(tmp_path, text))
    assert [rule.name for rule in rules] == [rule.name for rule in (*CATALOGUE, *SERVING)]
    assert rules.find("gpu_utilization").window == 30
    assert rules.find("gpu_utilization_max") in CATALOGUE


def test_one_setting_turns_the_gauges_off(tmp_path: Path) -> None:
    """By default a gauge is found by its own name; with `gauges: false` it is unknown."""
    assert rules_of(Config()).find("dcgm_fi_prof_sm_active").unit == "ratio"
    with pytest.raises(UnknownMetricError):
        rules_of(load(tmp_path, "gauges: false")).find("dcgm_fi_prof_sm_active")


def test_every_problem_is_reported_at_once_by_path(tmp_path: Path) -> None:
    """Each line has a setting's path, and what would be valid."""
    with pytest.raises(ConfigurationError) as raised:
        load(
            tmp_path,
            """
rules:
  - name: GPU_Busy
    readings: [{family: X, maximum: 1}, {family: "a b", minimum: 5, maximum: 3, scale: 0}]
    overPods: mean
  - name: empty
    readings: []
    window: 1500ms
    decimals: 4
  - name: energy
    readings: [{family: DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION, maximum: .inf, each: ["a b"]}]
gauges: some
""",
        )
    assert [line.strip() for line in str(raised.value).splitlines()[1:]] == [
        (
            'rules.0.name: "GPU_Busy" is not a metric name: use a-z, 0-9, "_", "." and "-", '
            "beginning and ending with a letter or a digit; upper case is not allowed, as the HPA "
            "asks in lower case"
        ),
        (
            'rules.0.readings.1.family: "a b" is not a family name; write it as it is on the page, '
            "such as DCGM_FI_DEV_GPU_UTIL"
        ),
        "rules.0.readings.1.maximum: must be above the minimum, which is 5",
        "rules.0.readings.1.scale: must be greater than 0",
        "rules.0.overPods: must be 'avg', 'max', 'min', 'sum' or 'p95'",
        "rules.1.readings: must have at least one reading, such as {family: NAME, maximum: 100}",
        "rules.1.decimals: must be less than or equal to 3",
        "rules.1.window: must be whole seconds, such as 30s, and at most 10m",
        (
            'rules.2.readings.0.family: "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION" is a counter: it '
            "only ever grows, and replicas scaled on it would only grow with it; ask for "
            "gpu_power_usage"
        ),
        "rules.2.readings.0.maximum: must be a finite number",
        'rules.2.readings.0.each.0: "a b" is not a label name such as xcc_index',
        "gauges: must be true or false",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{name: a}", "rules.0: needs readings, such as {family: NAME, maximum: 100}, or a query"),
        ("{name: a, readings: [{family: X}]}", "rules.0.readings.0.maximum: is required"),
        (
            "{name: a, readings: [{family: X, maximum: 1, minimum: -1}]}",
            "rules.0.readings.0.minimum: must be greater than or equal to 0",
        ),
        (
            "{name: a, readings: [{family: X, maximum: 1e3, scale: 1e12}]}",
            "rules.0: its values could reach 1e+15, but an HPA reads at most 1e+14",
        ),
        (
            "{name: a, window: 11m, readings: [{family: X, maximum: 1}]}",
            "rules.0.window: must be whole seconds, such as 30s, and at most 10m",
        ),
        (
            "{name: a, window: 30, readings: [{family: X, maximum: 1}]}",
            "rules.0.window: 30 is not a duration; write it as 2s",
        ),
        (
            "{name: a, reading: []}",
            "rules.0.reading: unknown setting; did you mean readings?",
        ),
        (
            (
                "{name: a, readings: [{family: X, maximum: 1}]}, "
                "{name: b, readings: [{family: X, maximum: 1}]}, "
                "{name: a, readings: [{family: X, maximum: 1}]}"
            ),
            "rules.2.name: rules.0 already has this name",
        ),
        *(
            (f"{{name: a, {source}readings: [{readings}]}}", f"rules.0{message}")
            for source, readings, message in (
                (
                    "",
                    "{family: X, maximum: 1}, {family: Y, maximum: 1, rate: true}",
                    ": readings.1: rate and quantile are only for source: pods",
                ),
                (
                    "",
                    "{family: X, maximum: 1, quantile: 0.5}",
                    ": readings.0: rate and quantile are only for source: pods",
                ),
                (
                    "source: pods, ",
                    "{family: X, maximum: 1}, {family: Y, maximum: 1, rate: true}",
                    ": either all readings have rate or quantile, or none",
                ),
                (
                    "source: pods, overPods: sum, ",
                    "{family: X, maximum: 1, quantile: 0.5}",
                    ": overPods: a sum of quantiles means nothing; use avg or max",
                ),
                (
                    "source: pods, ",
                    "{family: X, maximum: 1, quantile: 0.5, rate: true}",
                    ".readings.0: rate is for counters and quantile for histograms",
                ),
                (
                    "source: pods, ",
                    "{family: X, maximum: 1, quantile: 0.5, zeroBeside: [Y]}",
                    ".readings.0: zeroBeside does not go with quantile",
                ),
                (
                    "source: pods, ",
                    "{family: X_bucket, maximum: 1, quantile: 0.5}",
                    ".readings.0: with quantile, the family is the histogram's name: X",
                ),
                (
                    "source: pods, ",
                    "{family: X, maximum: 1, quantile: 1}",
                    ".readings.0.quantile: must be less than 1",
                ),
                (
                    "source: pods, ",
                    "{family: X, maximum: 1, quantile: 0}",
                    ".readings.0.quantile: must be greater than 0",
                ),
            )
        ),
        *(
            (f"{{name: '{name}', readings: [{{family: X, maximum: 1}}]}}", "rules.0.name: ")
            for name in ("", "-a", "a/b", "a%b", "ä", "a" * 254)
        ),
    ],
)
def test_a_wrong_rule_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """An invalid setting is rejected, with its path."""
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, f"rules: [{text}]")
    assert message in str(raised.value)
