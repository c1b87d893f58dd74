"""What an image was built from, and by what: an in-toto statement in SLSA's form.

It is a record of the build, not a proof: the publisher signs the image.
"""

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.image.archive import Image, index_digest
from tests.image.engines import Build, Engine

_BASE = re.compile(r"^FROM ([^\s@]+)@sha256:([0-9a-f]{64})", re.MULTILINE)
_BUILDER = "pkg:generic/gpu-metrics-server/make-image"


def provenance(
    build: Build, images: list[Image], engine: Engine, commit: str, started: float
) -> str:
    """The statement, as JSON.

    Args:
        build: the build.
        images: the result.
        engine: its program.
        commit: of the sources.
        started: in seconds since 1970.
    """
    archive = images[0].archive
    subjects = {archive.name: index_digest(archive)}
    subjects |= {f"{archive.name}#{one.platform}": one.digest for one in images}
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}
            for name, digest in subjects.items()
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILDER,
                "externalParameters": {
                    "platforms": build.platforms,
                    "arguments": build.arguments,
                    "created": _time(build.created),
                },
                "resolvedDependencies": _materials(build.context, commit),
            },
            "runDetails": {
                "builder": {"id": _BUILDER, "version": {engine.name: engine.version}},
                "metadata": {
                    "startedOn": _time(started),
                    "finishedOn": _time(datetime.now(UTC).timestamp()),
                },
            },
        },
    }
    return msgspec.json.format(msgspec.json.encode(statement).decode(), indent=2) + "\n"


def _materials(context: Path, commit: str) -> list[dict[str, str | dict[str, str]]]:
    """The commit, the base images, and the locks, whose hashes identify all that is installed."""
    made: list[dict[str, str | dict[str, str]]] = [
        {"name": "gpu-metrics-server", "digest": {"gitCommit": commit}}
    ]
    dockerfile = (context / "Dockerfile").read_text(encoding="utf-8")
    for name, digest in sorted(set(_BASE.findall(dockerfile))):
        made.append({"uri": f"docker-image://{name}", "digest": {"sha256": digest}})
    for lock in sorted((context / "deployments" / "image").glob("*.lock")):
        digest = hashlib.sha256(lock.read_bytes()).hexdigest()
        made.append({"name": str(lock.relative_to(context)), "digest": {"sha256": digest}})
    return made


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"
