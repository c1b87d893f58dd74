"""Carry out a Dockerfile's steps without a container engine, as commands in folders.

A stage is a folder, with a virtual environment instead of the base image's Python, which is
/usr/local there. The steps name no other absolute path while they run. The rest is for
`make image-test`: the layers, the archive and the system in the image.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from functools import cache, cached_property
from pathlib import Path
from typing import TypedDict

from msgspec import Struct

from tests.support.once import kept, once

_PREFIX = "/usr/local"
_NOBODY = (65534, 65534)
_WITHOUT_EFFECT = {"ARG", "LABEL", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
_FROM_STAGE = re.compile(r"--from=(\w+) (\S+) (\S+)")


class StepError(Exception):
    """A step failed; the message is its output."""


class AsUser(TypedDict, total=False):
    """The arguments of subprocess that change the user; only root can."""

    user: int
    group: int
    extra_groups: list[int]


class Step(Struct, frozen=True):
    """One instruction.

    Attributes:
        instruction: in capitals.
        rest: what follows it, on one line.
    """

    instruction: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The words of its exec form, such as ["python", "-m", "metrics_server"]."""
        found: list[str] = json.loads(self.rest[self.rest.index("[") :])
        return found


class Stage:
    """One stage of a build.

    Args:
        folder: where it is built; must not exist.

    Attributes:
        steps: the executed ones.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._root = folder, folder / "root"
        self._root.mkdir(parents=True)
        self._workdir = self._root
        self._user = (0, 0)
        self._env: dict[str, str] = {}
        self.steps: list[Step] = []

    @cached_property
    def python(self) -> Path:
        """The replacement for /usr/local."""
        return new_environment(self._folder / "python")

    def path(self, text: str) -> Path:
        """An image path's location here."""
        if text == _PREFIX:
            return self.python
        return self._root / text.lstrip("/") if text.startswith("/") else self._workdir / text

    def one(self, instruction: str) -> Step:
        """The only step of its kind."""
        (found,) = (step for step in self.steps if step.instruction == instruction)
        return found

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the stage's user, to its end."""
        with self.start(*command) as process:
            out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command as the stage's user."""
        # This machine decides where packages come from.
        settings = {name: text for name, text in os.environ.items() if name.startswith("PIP_")}
        # An image keeps no cache. One may be used here, because hashes are checked anyway.
        settings["PIP_NO_CACHE_DIR"] = "0"
        path = f"{self.python / 'bin'}:/usr/bin:/bin"
        return subprocess.Popen(  # noqa: S603 - the Dockerfile's own
            command,
            cwd=self._workdir,
            env={**self._env, **settings, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **_as_user(*self._user),
        )

    def carry_out(self, step: Step) -> None:
        """Execute an instruction that needs no other stage.

        Raises:
            StepError: it failed, or cannot be executed here.
        """
        self.steps.append(step)
        match step.instruction:
            case "WORKDIR":
                self._workdir = self.path(step.rest)
                self._workdir.mkdir(exist_ok=True)
            case "ENV":
                self._env |= dict(word.split("=", 1) for word in shlex.split(step.rest))
            case "USER":
                user, group = step.rest.split(":")
                self._user = (int(user), int(group))
            case "RUN":
                done = self.run("/bin/sh", "-c", step.rest)
                if done.returncode != 0:
                    raise StepError(f"RUN {step.rest}:\n{done.stdout}{done.stderr}")
            case other if other not in _WITHOUT_EFFECT:
                raise StepError(f"{other} is not supported here: extend {__name__}")


def build(sources: Path, folder: Path) -> Stage:
    """Execute every step of the sources' Dockerfile, and return the final stage.

    Args:
        sources: with the Dockerfile and its .dockerignore.
        folder: for the stages, each in a folder of its name.

    Raises:
        StepError: a step failed.
    """
    context = folder / "context"
    ignored = (sources / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copy_context(sources, context, [line for line in ignored if line and line[0] != "#"])
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for step in _steps((sources / "Dockerfile").read_text(encoding="utf-8")):
        if step.instruction == "FROM":
            name = step.rest.partition(" AS ")[2] or "final"
            stage = stages[name] = Stage(folder / name)
            continue
        if stage is None:
            raise StepError(f"{step.instruction} comes before any FROM")
        if step.instruction == "COPY":
            _copy(step.rest, stage, stages, context)
        else:
            stage.carry_out(step)
    return stages["final"]


def copy_context(sources: Path, context: Path, patterns: Sequence[str]) -> None:
    """Copy what a .dockerignore leaves in a build's context; the last matching pattern wins."""

    def hidden(path: str) -> bool:
        verdict = False
        for pattern in patterns:
            bare = pattern.removeprefix("!").removeprefix("**/")
            places = [path, *map(str, Path(path).parents)]
            names = [Path(place).name for place in places] if "**/" in pattern else places
            # A folder must be searched if something in it is included.
            inside = pattern.startswith("!") and bare.startswith(f"{path}/")
            if inside or bare == "*" or any(fnmatch(name, bare) for name in names):
                verdict = not pattern.startswith("!")
        return verdict

    def ignore(folder: str, names: list[str]) -> list[str]:
        inside = Path(folder).relative_to(sources)
        return [name for name in names if hidden(str(inside / name))]

    shutil.copytree(sources, context, ignore=ignore)


def _steps(text: str) -> Iterator[Step]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, rest = line.split(maxsplit=1)
        yield Step(instruction, rest if "[" in rest else " ".join(rest.split()))


def _copy(rest: str, stage: Stage, stages: dict[str, Stage], context: Path) -> None:
    if found := _FROM_STAGE.fullmatch(rest):
        name, origin, to = found.groups()
        of, at = stages[name].path(origin), stage.path(to)
        _link(of, at)
        return
    *origins, to = rest.split()
    for origin in (context / origin for origin in origins):
        if not origin.exists():
            raise StepError(f"COPY {rest}: .dockerignore hides {origin.name}, or it does not exist")
        if origin.is_dir():
            shutil.copytree(origin, stage.path(to), dirs_exist_ok=True)
        else:
            shutil.copy(origin, stage.path(to))


def _as_user(user: int, group: int) -> AsUser:
    return {"user": user, "group": group, "extra_groups": []} if os.geteuid() == 0 else {}


def new_environment(folder: Path) -> Path:
    """Create a virtual environment with pip at a path, and return it.

    It is a copy, in which only pip's own scripts name the original.
    """
    _link(environment(), folder)
    return folder


def _link(of: Path, at: Path) -> None:
    """Copy what is in a folder, by links, as nobody changes its files: this is much faster."""
    subprocess.run(["cp", "--archive", "--link", "--force", f"{of}/.", at], check=True)  # noqa: S603, S607 - everywhere


def environment() -> Path:
    """The virtual environment to copy, which is never changed."""
    python = _python()
    identity = "import ensurepip, sys; print(sys.executable, sys.version, ensurepip.version())"

    def make(folder: Path) -> None:
        subprocess.run([python, "-m", "venv", folder], check=True)  # noqa: S603 - found here

    def copy(folder: Path) -> None:
        asked = subprocess.check_output([python, "-c", identity])  # noqa: S603 - likewise
        subprocess.run(["cp", "--archive", kept("environment", asked, make), folder], check=True)  # noqa: S603, S607 - everywhere
        folder.chmod(0o755)

    # Stages are linked to it, so it is where they are, and not in the cache.
    return once("environment", copy)


@cache
def _python() -> str:
    """A Python that every user can run, as in an image; one in root's home is not."""
    check = "import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))"
    for found in (os.path.realpath(sys.executable), "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            done = subprocess.run([found, "-c", check], check=False, **_as_user(*_NOBODY))  # noqa: S603 - likewise
        except OSError:
            continue
        if done.returncode == 0:
            return found
    raise StepError("no Python 3.11 with venv that every user can run: install python3-venv")
