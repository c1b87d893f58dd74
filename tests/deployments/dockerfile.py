"""A Dockerfile's steps, carried out as commands in folders: there is no container engine here.

A stage is a folder, and a virtual environment in place of the base image's Python, which is
/usr/local there. The steps are written so that they name no other absolute path while they work.
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
from functools import cache
from pathlib import Path
from typing import TypedDict

from msgspec import Struct

PYTHON_PREFIX = "/usr/local"


# Anybody who is not root.
NOBODY = (65534, 65534)


class AsUser(TypedDict, total=False):
    """The arguments of subprocess that name a user; none where it could not become another."""

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
    def form(self) -> list[str]:
        """The words of its exec form, such as ["python", "-m", "metrics_server"]."""
        words: list[str] = json.loads(self.rest[self.rest.index("[") :])
        return words


def steps(text: str) -> Iterator[Step]:
    """The instructions of a Dockerfile."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, rest = line.split(maxsplit=1)
        yield Step(instruction, " ".join(rest.split()) if instruction != "CMD" else rest)


class Ignored:
    """What a .dockerignore keeps from the build, as far as ours uses its language."""

    def __init__(self, text: str) -> None:
        self._patterns = [line for line in text.splitlines() if line and not line.startswith("#")]

    def __call__(self, folder: str, names: Sequence[str]) -> list[str]:
        """Those of a folder's names that are kept from it; for shutil.copytree."""
        return [name for name in names if self.hides(f"{folder}/{name}")]

    def hides(self, path: str) -> bool:
        """Whether a path, relative to the repository, is kept from the build."""
        hidden = False
        for pattern in self._patterns:
            bare = pattern.removeprefix("!").removeprefix("**/")
            places = [path, *map(str, Path(path).parents)]
            names = [Path(place).name for place in places] if "**/" in pattern else places
            if bare == "*" or any(fnmatch(name, bare) for name in names):
                hidden = not pattern.startswith("!")
        return hidden


class Stage:
    """One stage of a build.

    Args:
        folder: where it is made.

    Attributes:
        folder: where it is made.
        root: stands for /.
        python: stands for /usr/local.
        user: by number, and its group's.
        env: what ENV has set.
        workdir: where commands are carried out.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root, self.python = folder / "root", folder / "python"
        self.root.mkdir(parents=True)
        self.user = (0, 0)
        self.env: dict[str, str] = {}
        self.workdir = self.root
        subprocess.run([_python(), "-m", "venv", self.python], check=True)  # noqa: S603 - found here

    def path(self, text: str) -> Path:
        """Where a path of the image lies here."""
        if text == PYTHON_PREFIX:
            return self.python
        return self.root / text.lstrip("/") if text.startswith("/") else self.workdir / text

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Carry a command out as the stage's user."""
        return subprocess.run(  # noqa: S603 - the Dockerfile's own
            command,
            cwd=self.workdir,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            **self.as_user,
        )

    def carry_out(self, step: Step) -> None:
        """Carry out an instruction that concerns this stage alone.

        Raises:
            RuntimeError: it failed, with its output; or there is no way to carry it out here.
        """
        match step.instruction:
            case "WORKDIR":
                self.workdir = self.path(step.rest)
                self.workdir.mkdir(exist_ok=True)
            case "ENV":
                self.env |= dict(word.split("=", 1) for word in shlex.split(step.rest))
            case "USER":
                user, group = step.rest.split(":")
                self.user = (int(user), int(group))
            case "RUN":
                done = self.run("/bin/sh", "-c", step.rest)
                if done.returncode != 0:
                    raise RuntimeError(f"{step.rest}:\n{done.stdout}{done.stderr}")
            case "ARG" | "LABEL" | "EXPOSE" | "HEALTHCHECK" | "ENTRYPOINT" | "CMD":
                pass
            case other:
                raise RuntimeError(f"{other} is not carried out here")

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a command: those of ENV, and pip's settings of this machine."""
        settings = {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
        # An image keeps no cache. Here one may be used: hashes are checked all the same.
        settings["PIP_NO_CACHE_DIR"] = "0"
        return {**self.env, **settings, "PATH": f"{self.python / 'bin'}:/usr/bin:/bin"}

    @property
    def as_user(self) -> AsUser:
        """What makes subprocess run a command as the stage's user; root alone can."""
        return _as_user(*self.user)


def _as_user(user: int, group: int) -> AsUser:
    if os.geteuid() != 0:
        return {}
    return {"user": user, "group": group, "extra_groups": []}


@cache
def _python() -> str:
    """A Python that every user may run, as an image's is; one in root's home is root's alone."""
    check = "import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))"
    for found in (os.path.realpath(sys.executable), "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            done = subprocess.run([found, "-c", check], check=False, **_as_user(*NOBODY))  # noqa: S603 - likewise
        except OSError:
            continue
        if done.returncode == 0:
            return found
    raise RuntimeError("no Python 3.11 with venv that every user may run: install python3-venv")


def build(dockerfile: Path, folder: Path, *, only: str | None = None) -> dict[str, Stage]:
    """Carry every step out, and give the stages by their names; the last is called "".

    Args:
        dockerfile: the file, in the folder that is built from.
        folder: where each stage is made, in a folder of its name.
        only: the one stage that is wanted; it must be the first.

    Raises:
        RuntimeError: a step failed; the message is its output.
    """
    context = dockerfile.parent
    ignored = Ignored((context / ".dockerignore").read_text(encoding="utf-8"))
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for step in steps(dockerfile.read_text(encoding="utf-8")):
        if step.instruction == "FROM":
            name = step.rest.partition(" AS ")[2]
            if only not in (None, name):
                break
            stage = stages[name] = Stage(folder / (name or "final"))
            continue
        if stage is None:
            raise RuntimeError(f"{step.instruction} comes before any FROM")
        if step.instruction == "COPY":
            _copy(step.rest, stage, stages, context, ignored)
        else:
            stage.carry_out(step)
    return stages


def _copy(
    rest: str, stage: Stage, stages: dict[str, Stage], context: Path, ignored: Ignored
) -> None:
    source = re.match(r"--from=(\w+) (\S+) (\S+)$", rest)
    if source is not None:
        name, origin, to = source.groups()
        shutil.copytree(stages[name].path(origin), stage.path(to), dirs_exist_ok=True)
        return
    *origins, to = rest.split()
    for origin in origins:
        if ignored.hides(origin):
            raise RuntimeError(f".dockerignore keeps {origin} from the build")
        if (context / origin).is_dir():

            def ignore(folder: str, names: Sequence[str]) -> list[str]:
                return ignored(str(Path(folder).relative_to(context)), names)

            shutil.copytree(context / origin, stage.path(to), ignore=ignore, dirs_exist_ok=True)
        else:
            target = stage.path(to)
            shutil.copy(
                context / origin, target / Path(origin).name if to.endswith("/") else target
            )
