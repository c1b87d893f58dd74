"""What takes long to make, and is the same in all processes of a run of the tests.

It is in a folder that lives as long as the run, where the first process that needs it makes it.
"""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path

# The environment hands the folder on to the run's other processes.
_VARIABLE = "GPU_METRICS_SERVER_TEST_RUN"


def once(name: str, make: Callable[[Path], object]) -> Path:
    """The file or folder of a name, which `make` makes at a path that does not exist yet."""
    path = run_folder() / sha256(name.encode()).hexdigest()
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                new = Path(folder) / "new"
                make(new)
                new.rename(path)
    return path


def text_once(name: str, make: Callable[[], str]) -> str:
    """The text of a name."""
    return once(name, lambda path: path.write_text(make(), encoding="utf-8")).read_text("utf-8")


@cache
def run_folder() -> Path:
    """The folder of the run, which ends with the process that asked first."""
    if found := os.environ.get(_VARIABLE):
        return Path(found)
    folder = Path(tempfile.mkdtemp(prefix="tests-"))
    folder.chmod(0o755)  # a test that runs something as another user needs it
    atexit.register(_remove, folder, os.getpid())
    os.environ[_VARIABLE] = str(folder)
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not one forked from it
        shutil.rmtree(folder, ignore_errors=True)
