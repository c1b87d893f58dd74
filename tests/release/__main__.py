"""Make a release: `make release VERSION=1.2.3`.

Everything is done in a clone, so that a failed release changes nothing: the version and the
changelog are written and committed, the source distribution, the wheel and the chart are built from
that commit, and the wheel is installed into an empty environment and tried. Then the commit and its
tag are fetched here, and the files are put into dist/.
"""

import argparse
import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.release.files import ReleaseError, changes, notes
from tests.support import carried

ROOT = Path(__file__).parents[2]
_CHART = "deployments/helm/gpu-metrics-server"
# A demo of some seconds, and pip's downloads.
_SECONDS = 300


def main() -> int:
    """Make the release for the command line."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("version", metavar="VERSION", help="such as 1.2.3")
    parser.add_argument(
        "--dry-run", action="store_true", help="build and try it, and change nothing"
    )
    parser.add_argument("--repository", type=Path, default=ROOT, help="of which clone")
    arguments = parser.parse_args()
    try:
        release(arguments.repository.resolve(), arguments.version, dry_run=arguments.dry_run)
    except (ReleaseError, carried.ProgramUnavailableError) as error:
        sys.stderr.write(f"no release was made: {error}\n")
        return 1
    return 0


def release(repository: Path, version: str, *, dry_run: bool) -> None:
    """Make a release of a repository's commit.

    Raises:
        ReleaseError: it cannot be made.
        ProgramUnavailableError: there is no Helm to package the chart.
    """
    tag = f"v{version}"
    if run(repository, "git", "status", "--porcelain"):
        raise ReleaseError("some changes are not committed: commit or stash them")
    if run(repository, "git", "tag", "--list", tag):
        raise ReleaseError(f"the tag {tag} exists already: choose another VERSION")
    branch = run(repository, "git", "symbolic-ref", "--short", "HEAD").strip()
    with tempfile.TemporaryDirectory() as folder:
        clone, built = Path(folder) / "clone", Path(folder) / "dist"
        run(repository, "git", "clone", "--quiet", "--shared", ".", clone)
        _commit(repository, clone, version, tag)
        say(f"wrote version {version} and its changelog, in a temporary clone of {branch}")
        say("building the source distribution and the wheel")
        _build(clone, built)
        _try(built, version, Path(folder))
        say("packaging the Helm chart")
        _package(clone, built)
        _write_checksums(built)
        say("built:")
        for path in sorted(built.iterdir()):
            say(f"  {path.name}")
        if dry_run:
            say(f"dry run: nothing was changed. A release commits this to {branch} as {tag}, and")
            say("puts the files into dist/")
            return
        run(repository, "git", "fetch", "--quiet", clone, f"refs/tags/{tag}:refs/tags/{tag}")
        run(repository, "git", "merge", "--quiet", "--ff-only", tag)
        shutil.rmtree(repository / "dist", ignore_errors=True)
        shutil.copytree(built, repository / "dist")
    say(f"released {version} on {branch}; its files are in dist/. To publish it:")
    say(f"  git push origin {branch} {tag}")


def _commit(repository: Path, clone: Path, version: str, tag: str) -> None:
    """Write the version and the changelog, commit them, and tag the commit."""
    for one in list(changes(clone, version, f"{datetime.now(UTC):%Y-%m-%d}")):
        one.path.write_text(one.text, encoding="utf-8")
    for setting in ("user.name", "user.email"):
        value = run(repository, "git", "config", setting).strip()
        run(clone, "git", "config", setting, value)
    run(clone, "git", "commit", "--quiet", "--all", "--message", f"Release {version}")
    text = notes((clone / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    # Headings start with #, as comments do.
    message = ("--cleanup=verbatim", "--message", f"gpu-metrics-server {version}", "--message")
    run(clone, "git", "tag", "--annotate", *message, text, tag)


def _build(clone: Path, built: Path) -> None:
    """Build the source distribution and the wheel, in a separate environment."""
    python = _environment(clone.parent / "build")
    lock = clone / "deployments" / "image" / "build.lock"
    _install(python, "--require-hashes", "--requirement", lock)
    run(clone, python, "-m", "hatchling", "build", "--directory", built)


def _try(built: Path, version: str, folder: Path) -> None:
    """Install the wheel with only its requirements, and run the demos from it."""
    (wheel,) = built.glob("*.whl")
    say(f"installing {wheel.name} into an empty environment, and running from it:")
    python = _environment(folder / "trial")
    _install(python, "--constraint", folder / "clone" / "constraints.txt", wheel)
    command = python.with_name("gpu-metrics-server")
    if run(folder, command, "--version").strip() != version:
        raise ReleaseError(f"{wheel.name} does not say that it is {version}")
    run(folder, command, "rules")
    shown = demos((folder / "clone" / "README.md").read_text(encoding="utf-8"))
    for arguments in shown:
        say(f"  {shlex.join([command.name, 'demo', *arguments])}")
    demo = partial(run, folder, command, "demo", "--duration", "5s")
    # The first one compiles what all of them import.
    first, *rest = shown
    with ThreadPoolExecutor() as pool:
        for printed in (demo(*first), *pool.map(lambda arguments: demo(*arguments), rest)):
            if "metrics.k8s.io" not in printed:
                raise ReleaseError(f"the demo of {wheel.name} shows no metric:\n{printed}")


def demos(readme: str) -> list[list[str]]:
    """The arguments of each demo in the README, from the clone and from the wheel."""
    shown = re.findall(r'^make demo(?: ARGS="(.*)")?$', readme, re.MULTILINE)
    return [shlex.split(arguments) for arguments in shown]


def _package(clone: Path, built: Path) -> None:
    """Package the chart, with the commit's version."""
    run(clone, carried.find("helm"), "package", _CHART, "--destination", built)


def _write_checksums(built: Path) -> None:
    """Write SHA256SUMS, for `sha256sum --check`."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(built.iterdir())
    ]
    (built / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _environment(folder: Path) -> Path:
    """The Python of a new virtual environment, which is empty, even without pip."""
    run(folder.parent, sys.executable, "-m", "venv", "--without-pip", folder)
    return folder / "bin" / "python"


def _install(python: Path, *what: str | Path) -> None:
    """Install into a Python's environment, with this environment's pip."""
    options = ("--quiet", "--disable-pip-version-check", "--no-compile", "--no-warn-conflicts")
    command = (sys.executable, "-m", "pip", "--python", python, "install")
    run(python.parent, *command, *options, *what)


def run(folder: Path, *command: str | Path) -> str:
    """The output of a command in a folder, which must succeed.

    Raises:
        ReleaseError: it does not.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the commands are this module's own
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise ReleaseError(f"{command[0]} took more than {_SECONDS} s") from error
    if done.returncode:
        words = " ".join(map(str, command))
        raise ReleaseError(f"`{words}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def say(text: str) -> None:
    """Print a line, unbuffered."""
    print(text, flush=True)  # noqa: T201 - a command


if __name__ == "__main__":
    sys.exit(main())
