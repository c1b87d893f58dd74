"""The command line: help, version, and what it rejects."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import structs

from metrics_server import __version__
from metrics_server.commands.main import main
from tests.support.commands import COMMANDS, FLAGS, kubeconfig

pytestmark = pytest.mark.slow


def ended(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], status: int
) -> tuple[str, str]:
    """The standard output and error of a command, which must end with this status."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == status
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out, err


def test_a_fault_without_an_exporter_to_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The status is 2, and one line says which flags exclude each other."""
    out, err = ended(capsys, ["demo", "--signal", "queue", "--fault", "exporter-down"], 2)
    assert (out, err.count("\n")) == ("", 1)
    assert "--fault applies to GPU exporters: it cannot be used with --signal queue" in err


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help(capsys: pytest.CaptureFixture[str], command: str | None) -> None:
    """--help lists every command, and every flag of a command with a description."""
    out, _ = ended(capsys, [command, "--help"] if command else ["--help"], 0)
    assert out.startswith("usage: gpu-metrics-server")
    for name in FLAGS[command].values() if command else COMMANDS:
        assert name in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints only the version."""
    assert ended(capsys, ["--version"], 0) == (f"{__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "left_out"),
    [
        (["--version"], {"pydantic", "aiohttp", "kubernetes"}),
        (["--help"], {"pydantic", "aiohttp", "kubernetes"}),
        (["rules"], {"aiohttp", "kubernetes", "metrics_server.doctor"}),
        (["serve", "--help"], {"metrics_server.doctor", "metrics_server.simulator"}),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], left_out: set[str]) -> None:
    """Importing what all commands need takes a second."""
    lines = (
        "import atexit, sys",
        f"atexit.register(lambda: print(sorted({left_out} & sys.modules.keys())))",
        f"from metrics_server.commands.main import main; main({arguments})",
    )
    command = (sys.executable, "-c", "\n".join(lines))
    printed = subprocess.check_output(command, text=True)  # noqa: S603 - the test's own
    assert printed.splitlines()[-1] == "[]"


async def test_the_module_is_the_command() -> None:
    """`python -m metrics_server` is the same program, under the same name."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "metrics_server", "server"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"gpu-metrics-server: error: argument COMMAND: invalid choice: 'server'" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["server"], "invalid choice: 'server'"),
        (["serve", "--wrong"], "unrecognized arguments: --wrong"),
        (["serve", "--secure-port", "70000"], "70000 is not a whole number from 0 to 65535"),
        (["serve", "--secure-port", "-1"], "-1 is not a whole number"),
        (["serve", "--secure-port", "https"], "--secure-port: https is not a whole number"),
        (["serve", "--log-level", "loud"], "invalid choice: 'loud'"),
        (["serve", "--log-format", "xml"], "invalid choice: 'xml'"),
        (["serve", "--shutdown-delay-duration", "5"], "'5' is not a duration; write it as 2s"),
        (["serve", "--exporter", "10.0.0.7:9400"], "is not a URL such as http://"),
        (["serve", "--exporter", "http://me:secret@10.0.0.7/"], "would end up in logs"),
        (["serve", "--exporter", "http://10.0.0.7:99999/"], "is not a URL such as http://"),
        (["serve", "--exporter", "http://10.0.0.7/\r\nX: y"], "is not a URL such as http://"),
        (["serve", "--shutdown-delay-duration", "25h"], "must be at most 24h"),
        (["serve", "--authorization-always-allow-paths", "livez"], "livez does not begin with /"),
        (["serve", "--custom-metrics", "off"], "--custom-metrics: off is neither true nor false"),
        (["certs", "--out", "x", "--namespace", "A"], "'A' is not a DNS label"),
        (["demo", "--duration", "1 minute"], "'1 minute' is not a duration"),
        (["demo", "--nodes", "0"], "0 is not a whole number from 1 to 100"),
        (["demo", "--nodes", "101"], "101 is not a whole number from 1 to 100"),
        (["demo", "--port", "65536"], "65536 is not a whole number"),
        (["demo", "--fault", "fire"], "invalid choice: 'fire'"),
        (["demo", "--signal", "memory"], "invalid choice: 'memory'"),
        (["demo", "--metric-type", "object"], "invalid choice: 'object'"),
    ],
)
def test_a_wrong_flag(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], sentence: str
) -> None:
    """The status is 2, and the last line on stderr says what is wrong."""
    out, err = ended(capsys, arguments, 2)
    assert out == ""
    assert err.startswith("usage: gpu-metrics-server")
    assert sentence in err.splitlines()[-1]
    assert "secret" not in err


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (None, ["cannot be read", "No such file"]),
        ("exporters: [", ["is not YAML"]),
        ("- a list", ["the file: "]),
        (
            "exporters: {timeout: 5, maxAge: 0s}\nfallback: {minCoverage: 2}",
            ["exporters.timeout: ", "exporters.maxAge: ", "fallback.minCoverage: "],
        ),
        ("exporter: {}", ["exporter: "]),
    ],
    ids=["missing", "no YAML", "no mapping", "wrong values", "unknown key"],
)
def test_a_wrong_configuration_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str | None, sentences: Sequence[str]
) -> None:
    """The status is 2; the file is named, and every wrong setting."""
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    out, err = ended(capsys, ["serve", "--config", str(path)], 2)
    assert out == ""
    assert err.startswith(f"gpu-metrics-server: {path}")
    for sentence in sentences:
        assert sentence in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--kubeconfig", "/nowhere/kubeconfig"], "the kubeconfig /nowhere/kubeconfig does not"),
        (["--tls-cert-file", "/nowhere/tls.crt"], "must be set together"),
        (["--tls-private-key-file", "/nowhere/tls.key"], "must be set together"),
        (
            ["--tls-cert-file", "/nowhere/tls.crt", "--tls-private-key-file", "/nowhere/tls.key"],
            "/nowhere/tls.crt",
        ),
    ],
)
def test_a_file_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: Sequence[str], sentence: str
) -> None:
    """The status is 2, and the last line on stderr names the file or the flag."""
    usable = str(kubeconfig(tmp_path, "http://127.0.0.1:1"))
    _, err = ended(capsys, ["serve", "--kubeconfig", usable, *arguments], 2)
    line = err.splitlines()[-1]
    assert line.startswith("gpu-metrics-server: ")
    assert sentence in line


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_is_a_flag(command: str) -> None:
    """Each field of a command's options can be set by a flag, and each flag sets one."""
    of_the_file = {"config", "external_metrics", "custom_metrics"} if command == "serve" else set()
    assert set(FLAGS[command]) == set(structs.asdict(COMMANDS[command]())) | of_the_file
