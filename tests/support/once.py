"""Things that take long to make, and are the same in all processes of a test run.

Each is made by the first process that needs it, in a folder that lasts as long as the run, or in
the user's cache.
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

# The environment passes the folder to the run's other processes.
_VARIABLE = "GPU_METRICS_SERVER_TEST_RUN"


def once(name: str, make: Callable[[Path], object]) -> Path:
    """The file or folder with a name, which `make` creates at a given path."""
    return _made(run_folder() / sha256(name.encode()).hexdigest(), make)


def kept(kind: str, identity: object, make: Callable[[Path], object]) -> Path:
    """The same, but kept for later runs.

    Args:
        kind: begins its name in the cache.
        identity: all that it depends on, in its `repr`.
        make: creates it at a given path.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return _made(folder / f"{kind}-{sha256(repr(identity).encode()).hexdigest()[:16]}", make)


def _made(path: Path, make: Callable[[Path], object]) -> Path:
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                new = Path(folder) / "new"
                make(new)
                new.rename(path)
    return path


def text_once(name: str, make: Callable[[], str]) -> str:
    """The text with a name."""
    return once(name, lambda path: path.write_text(make(), encoding="utf-8")).read_text("utf-8")


def cache_folder() -> Path:
    """The folder for what is kept, in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "gpu-metrics-server"


@cache
def run_folder() -> Path:
    """The folder of the run, which is removed with the process that created it."""
    if found := os.environ.get(_VARIABLE):
        return Path(found)
    folder = Path(tempfile.mkdtemp(prefix="tests-"))
    folder.chmod(0o755)  # a test that runs something as another user needs to read it
    atexit.register(_remove, folder, os.getpid())
    os.environ[_VARIABLE] = str(folder)
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked process
        shutil.rmtree(folder, ignore_errors=True)
