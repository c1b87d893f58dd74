"""The exit statuses that docs/reference.md promises."""

import argparse

import pytest

from metrics_server.commands import serve
from metrics_server.commands.main import main
from metrics_server.errors import ConfigurationError, KubernetesError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigurationError("a flag is wrong"), 2),
        (KubernetesError("the Kubernetes API cannot be reached"), 1),
        (KeyboardInterrupt(), 130),
        (None, 0),
    ],
    ids=["configuration", "Kubernetes API", "interrupt", "success"],
)
def test_each_end_has_its_status(
    error: BaseException | None,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An error is one sentence on stderr, never a traceback."""

    def run(_: argparse.Namespace) -> int:
        if error is not None:
            raise error
        return 0

    monkeypatch.setattr(serve, "_run", run)
    with pytest.raises(SystemExit) as ended:
        main(["serve"])

    assert ended.value.code == status
    said = str(error) if isinstance(error, ConfigurationError | KubernetesError) else ""
    assert capsys.readouterr().err == (f"gpu-metrics-server: {said}\n" if said else "")
