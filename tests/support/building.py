"""The documentation, built as a site."""

import os
import subprocess
import sys
from pathlib import Path


def build(root: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """The result of a strict build that reads mkdocs.yml in one folder and writes to another."""
    return subprocess.run(  # noqa: S603 - the command is the tests' own
        (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder),
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
