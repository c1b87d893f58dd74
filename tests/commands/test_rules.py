"""The command `rules`."""

from pathlib import Path

import pytest

from metrics_server.commands.main import main
from metrics_server.config.file import load_config
from metrics_server.config.rules import rules_in_force
from metrics_server.config.sections import Config
from metrics_server.rules.catalogue import CATALOGUE
from metrics_server.rules.serving import SERVING

CONFIG = """
rules:
  - name: gpu_utilization
    unit: percent
    readings: [{family: DCGM_FI_PROF_SM_ACTIVE, maximum: 1.01, scale: 100}]
    maximum: 100
    window: 30s
  - name: free_share
    unit: percent
    readings:
      - {family: FREE, minimum: 0.5, maximum: 9, scale: 100, where: {kind: a},
         dividedBy: [USED, FREE]}
    overPods: sum
  - name: tokens
    source: pods
    readings: [{family: TOKENS, maximum: 1000, rate: true, where: {kind: a}}]
    window: 60s
  - name: latency
    source: pods
    endpoint: {ports: [8000, rank-1], path: /m}
    readings: [{family: LATENCY, maximum: 60, quantile: 0.9, scale: 1000}]
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The command's exit status, output and errors."""
    with pytest.raises(SystemExit) as ended:
        main(["rules", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code, *capsys.readouterr()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file with two rules."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_the_table_has_a_row_for_each_metric(capsys: pytest.CaptureFixture[str]) -> None:
    """Each has its aggregations, target types and sources, in order."""
    status, out, err = run(capsys)
    assert (status, err) == (0, "")
    rows = {line.split()[0]: line.split() for line in out.split("\n\n")[0].splitlines()[1:]}
    assert list(rows) == [rule.name for rule in (*CATALOGUE, *SERVING)]
    assert rows["gpu_utilization"][1:5] == ["percent", "Value", "avg", "avg"]
    assert rows["gpu_utilization_sum"][1:5] == ["percent", "AverageValue", "avg", "sum"]
    families = " ".join(rows["gpu_utilization"][6:])
    assert families.startswith("DCGM_FI_DEV_GPU_UTIL, DCGM_FI_DEV_GPU_UTIL_RATIO * 100 (beside ")
    assert "DCGM_FI_PROF_GR_ENGINE_ACTIVE * 100, " in families
    # The sources of the sum and the maximum are printed once.
    assert rows["gpu_utilization_sum"][6:] == rows["gpu_utilization_max"][6:]
    assert rows["gpu_utilization_sum"][6:] == ["as", "gpu_utilization"]
    gauges = out.split("\n\n")[1]
    assert "DCGM_FI_PROF_SM_ACTIVE" in gauges
    assert "as NAME_sum (AverageValue)" in gauges


def test_the_table_is_of_the_configuration(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    """A rule from the file replaces the built-in one in its place, or is appended."""
    out = run(capsys, "--config", str(config))[1]
    rows = out.split("\n\n")[0].splitlines()
    assert "  30s     DCGM_FI_PROF_SM_ACTIVE * 100" in rows[1]
    (its_sum,) = [row for row in rows if row.startswith("gpu_utilization_sum ")]
    assert "DCGM_FI_DEV_GPU_UTIL, " in its_sum, "the built-in sum stays as it is"
    assert rows[-2].endswith('  60s     rate(TOKENS{kind="a"})')
    assert rows[-1].endswith("  -       quantile(0.9, LATENCY) * 1000")
    assert rows[-3].split() == [
        *("free_share", "percent", "AverageValue", "avg", "sum", "-"),
        *('FREE{kind="a"}', "/", "(USED", "+", "FREE)", "*", "100"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["", "gauges: false"])
def test_the_yaml_is_a_configuration_of_the_same_rules(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, extra: str
) -> None:
    """The output, used as a configuration, gives the same rules, and prints the same again."""
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(CONFIG + extra, encoding="utf-8")
    second.write_text(run(capsys, "--config", str(first), "--output", "yaml")[1], encoding="utf-8")
    before, after = (
        rules_in_force(one.rules, gauges=one.gauges) for one in map(load_config, (first, second))
    )
    assert list(before) == list(after)
    assert before.gauges() == after.gauges()
    assert bool(after.gauges()) == (not extra)
    again = run(capsys, "--config", str(second), "--output", "yaml")[1]
    assert again == second.read_text(encoding="utf-8")


def test_without_gauges_the_table_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A reader sees that the cause is a setting."""
    path = tmp_path / "config.yaml"
    path.write_text("gauges: false", encoding="utf-8")
    assert run(capsys, "--config", str(path))[1].endswith("\n  none (gauges: false)\n")


def test_a_wrong_file_is_reported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The exit status is 2, and the problem is reported with its path."""
    path = tmp_path / "config.yaml"
    path.write_text("rules: [{name: a, readings: []}]", encoding="utf-8")
    status, out, err = run(capsys, "--config", str(path), "--output", "yaml")
    assert (status, out) == (2, "")
    assert "rules.0.readings: must have at least one reading" in err


def test_the_defaults_are_the_catalogue() -> None:
    """With nothing configured, the built-in rules apply."""
    assert list(rules_in_force(Config().rules, gauges=True)) == [*CATALOGUE, *SERVING]


def test_a_file_is_checked(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    """The status is 0, and one line says how many metrics the file would serve."""
    count = len(rules_in_force(load_config(config).rules, gauges=True).names())
    assert run(capsys, "--check", "--config", str(config)) == (
        0,
        f"{config}: valid, {count} metrics\n",
        "",
    )


@pytest.mark.parametrize("columns", [60, 80, 300])
def test_what_is_wrong_with_a_file(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
) -> None:
    """The status is 1; each problem starts a line with its path, and fits the terminal."""
    monkeypatch.setenv("COLUMNS", str(columns))
    path = tmp_path / "config.yaml"
    path.write_text(
        "exporters: {maxage: 2s}\ngauges: perhaps\nrules: [{name: A, readings: []}]\n"
        "podPages: {endpoints: 3}\n",
        encoding="utf-8",
    )
    status, out, err = run(capsys, "--check", "--config", str(path))
    assert (status, err) == (1, "")
    first, *lines = out.splitlines()
    assert first == f"{path}:"
    assert max(map(len, lines)) <= min(columns, 100)
    problems = [line for line in lines if not line.startswith("      ")]
    assert problems[0] == "  exporters.maxage: unknown setting; did you mean maxAge?"
    assert problems[1] == "  podPages.endpoints: must be a list"
    assert problems[2].startswith('  rules.0.name: "A" is not a metric name: use')
    assert problems[-1] == "  gauges: must be true or false"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [\n", " is not YAML (line 2, column 1): "),
        (None, " cannot be read: No such file or directory\n"),
    ],
)
def test_a_file_that_cannot_be_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str | None, message: str
) -> None:
    """It is a single problem, without a library's own wording."""
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    status, out, _ = run(capsys, "--check", "--config", str(path))
    assert status == 1
    assert f"config.yaml{message}" in out.replace("\n      ", " ")


def test_a_check_needs_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """The status is 2, as for any wrong flag."""
    status, _, err = run(capsys, "--check")
    assert (status, err) == (2, "gpu-metrics-server: --check needs --config FILE\n")
