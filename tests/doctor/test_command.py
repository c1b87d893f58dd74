"""The command `doctor`: its output, its flags and its exit status."""

import asyncio
import io
import json
from pathlib import Path

import pytest

from metrics_server.doctor import output
from metrics_server.doctor.api import Api
from metrics_server.doctor.model import Check, Problem, Verdict, outcome_of, skipped
from metrics_server.doctor.reader import Reader, Subject
from metrics_server.doctor.registry import CHECKS
from metrics_server.doctor.runner import run_checks
from metrics_server.errors import KubernetesError
from metrics_server.simulator.faults import Fault
from tests.doctor.running import Run, status_of
from tests.doctor.scene import CONFIG, Scene, problems_of
from tests.support.commands import kubeconfig as unreachable_kubeconfig
from tests.support.kubernetes import connected

PROBLEM = Problem("clock", "the clock\x1b[31m", "it is wrong", "timedatectl\n# or so", "docs/x.md")


async def test_a_healthy_cluster(run: Run) -> None:
    """The status is 0, with a line for each check."""
    ran = await run("doctor", "-n", "default", "--hpa", "inference")
    assert ran.status == 0, ran
    names = [line.split()[1] for line in ran.out.split("\n\n")[0].splitlines()]
    assert names == [one.name for one in CHECKS if one.name != "exporter-interval"]
    assert ran.out.endswith("no problem found by 26 checks\n")


async def test_a_problem_with_its_fix(scene: Scene, run: Run) -> None:
    """The status is 1, and text and JSON have the command that fixes it."""
    await scene.cluster.set_fault(Fault("unlabelled"))
    ran = await run("doctor")
    assert ran.status == 1
    assert "PROBLEM no-pod-labels: exporter pod gpu-monitoring/dcgm-exporter-gpu-node-0" in ran.out
    kubectl = f"kubectl --kubeconfig {scene.kubeconfig} -n gpu-monitoring"
    fix = f"{kubectl} set env daemonset/dcgm-exporter DCGM_EXPORTER_KUBERNETES=true"
    assert f"  fix:\n    {fix}\n" in ran.out
    ran = await run("doctor", "--output", "json")
    document = json.loads(ran.out)
    assert (ran.status, document["status"]) == (1, 1)
    (check,) = [one for one in document["checks"] if one["status"] == "problem"]
    assert check["problems"][0]["name"] == "no-pod-labels"


async def test_without_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The status is 2, and the reason is on stderr."""
    config = unreachable_kubeconfig(tmp_path, "http://127.0.0.1:9")
    status = await asyncio.to_thread(status_of, ["doctor", "--kubeconfig", str(config)])
    assert status == 2
    assert "the Kubernetes API at http://127.0.0.1:9 cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("-l", "a in"), "--selector: unable to parse requirement"),
        (("-l", "a=b", "--hpa", "x"), "--hpa and --selector are mutually exclusive"),
    ],
)
async def test_wrong_flags(run: Run, flags: tuple[str, ...], message: str) -> None:
    """The status is 2."""
    ran = await run("doctor", *flags)
    assert ran.status == 2
    assert message in ran.err


async def test_a_configuration_file_is_used(run: Run, scene: Scene, tmp_path: Path) -> None:
    """It replaces the cluster's: APIs that it turns off are not examined."""
    file = tmp_path / "config.yaml"
    file.write_text(f"externalMetrics: false\n{CONFIG}")
    scene.api_service(spec__service={"namespace": "keda", "name": "keda"})
    assert (await run("doctor")).status == 1
    ran = await run("doctor", "--config", str(file))
    assert ran.status == 0, ran.out


async def test_a_check_that_may_not_read_does_not_fail_the_others(scene: Scene) -> None:
    """It is skipped with the reason; the others run."""
    for path in ("/nodes", "/proxy/", "/apiservices"):
        scene.api.faults.forbid(path)
    outcomes = {one.check: one for one in await scene.doctor()}
    assert problems_of([*outcomes.values()]) == {}
    skipped = {name for name, one in outcomes.items() if one.status == "skipped"}
    assert skipped == {
        "apiservice",
        "ca-bundle",
        "certificate",
        "exporters-failed",
        "no-exporter",
        "no-pod-labels",
        "no-sample",
        "readyz",
    }
    assert "/api/v1/nodes is forbidden" in outcomes["no-exporter"].summary
    assert outcomes["server"].status == "ok"


async def test_pages_that_may_not_be_read_are_no_problem(scene: Scene) -> None:
    """A workload's unread page is due to the caller's rights, not the cluster."""
    scene.api.faults.forbid("/proxy/")
    outcomes = await scene.doctor({"namespace": "default", "hpa": "inference"})
    assert problems_of(outcomes) == {}
    (found,) = [one for one in outcomes if one.check == "measurement"]
    assert found.status == "skipped"
    assert found.summary.startswith("was not read: ")


async def test_exporters_that_are_listed_by_url(scene: Scene) -> None:
    """Discovery is off, so that no exporter counts as missing."""
    scene.config_map(CONFIG + 'exporters: {urls: ["http://10.0.0.9:9400/metrics"]}\n')
    outcomes = await scene.doctor({"namespace": "default", "hpa": "inference"})
    assert problems_of(outcomes) == {}
    skipped = {one.check: one.summary for one in outcomes if one.status == "skipped"}
    assert "exporters.urls" in skipped["measurement"]


async def test_rights_that_are_missing_are_listed(scene: Scene) -> None:
    """As notes: a user's missing rights are not a fault of the cluster."""
    scene.denied.add(("kubernetes-admin", "nodes"))
    outcomes = {one.check: one for one in await scene.doctor()}
    assert outcomes["your-rights"].status == "note"
    assert outcomes["your-rights"].notes == ("you may not list nodes",)


async def test_a_check_is_bounded_in_time(scene: Scene) -> None:
    """A check that hangs is skipped, and does not delay the others."""

    async def hang(_: Reader) -> Verdict:
        await asyncio.Event().wait()
        raise AssertionError

    async def refuse(_: Reader) -> Verdict:
        raise KubernetesError("no", 403)

    async def work(_: Reader) -> Verdict:
        return Verdict("works")

    checks = [Check(run.__name__, "", (), run) for run in (hang, refuse, work)]
    async with connected(scene.kubeconfig) as client, Reader(Api(client), Subject()) as reader:
        outcomes = await run_checks(checks, reader, seconds=0.05)
    assert [(one.status, one.summary) for one in outcomes] == [
        ("skipped", "it took more than 0.05 s"),
        ("skipped", "no"),
        ("ok", "works"),
    ]


async def test_a_check_with_a_defect(scene: Scene) -> None:
    """It is a problem of that check, with advice; the others still run."""

    async def fail(_: Reader) -> Verdict:
        raise IndexError("tuple index out of range")

    async def work(_: Reader) -> Verdict:
        return Verdict("works")

    checks = [Check(run.__name__, "", (), run) for run in (fail, work)]
    async with connected(scene.kubeconfig) as client, Reader(Api(client), Subject()) as reader:
        failed, worked = await run_checks(checks, reader)
    assert (worked.status, worked.summary) == ("ok", "works")
    (problem,) = failed.problems
    assert (problem.name, problem.about) == ("check-failed", "check fail")
    assert "IndexError: tuple index out of range (test_command.py, line " in problem.message
    assert problem.fix.startswith("gpu-metrics-server doctor --output json ")


async def test_an_exporter_that_hangs(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading its page times out."""
    monkeypatch.setattr("metrics_server.doctor.pages._SECONDS", 0.2)
    await scene.cluster.set_fault(Fault("hang"), exporters=1)
    problem = problems_of(await scene.doctor())["exporters-failed"]
    assert "did not answer within 0.2 s" in problem.message


def test_exit_status() -> None:
    """1 for a problem, 2 if nothing could run, else 0."""
    well = outcome_of("a", Verdict("well"))
    noted = outcome_of("a", Verdict("well", notes=("hm",)))
    wrong = outcome_of("b", Verdict("wrong", (PROBLEM,)))
    not_run = outcome_of("c", skipped("no right"))
    assert output.exit_status([well, noted, not_run]) == 0
    assert output.exit_status([well, wrong, not_run]) == 1
    assert output.exit_status([not_run]) == 2


def test_text_is_safe_for_a_terminal() -> None:
    """Text from others cannot control it."""
    text = output.as_text([outcome_of("clock", Verdict("x\x1b[2J", (PROBLEM,), ("y\x1b[2J",)))])
    assert "\x1b" not in text
    assert "    timedatectl\n    # or so\n  see: docs/x.md" in text


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def test_a_table_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """With colors if rich is installed; otherwise plain text."""
    outcomes = [outcome_of("clock", Verdict("the clocks differ", (PROBLEM,)))]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    out = Terminal()
    output.write(outcomes, out, "table")
    assert "CHECK" in out.getvalue()
    assert "timedatectl" in out.getvalue()
    monkeypatch.setattr(output, "Console", None)
    out = Terminal()
    output.write(outcomes, out, "table")
    assert out.getvalue() == output.as_text(outcomes)
