"""Whether the versions of Kubernetes, of the server and of this command are compatible."""

import re

from metrics_server import __version__
from metrics_server.doctor.model import Check, Problem, Verdict
from metrics_server.doctor.objects import KubernetesVersion
from metrics_server.doctor.reader import Reader

# autoscaling/v2.
_LEAST = (1, 23)
_VERSION = re.compile(r"v?([0-9]+)\.([0-9]+)")
_TAG = re.compile(r":v?([0-9]+\.[0-9]+\.[0-9]+)(@|$)")


async def _run(reader: Reader) -> Verdict:
    found = await reader.api.find("/version", KubernetesVersion)
    installation = await reader.installation()
    image = installation.container.image if installation.container else ""
    return judge(found.git_version if found else "", image)


def judge(kubernetes: str, image: str) -> Verdict:
    """Judge the versions.

    Args:
        kubernetes: of the API server, such as v1.36.0.
        image: the server's; "" if it is not known.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    matched = _VERSION.match(kubernetes)
    if matched and (int(matched[1]), int(matched[2])) < _LEAST:
        problems.append(
            Problem(
                "versions",
                f"Kubernetes {kubernetes}",
                "it has no autoscaling/v2, which HPAs with such metrics need: 1.23 or newer",
                "kubectl version   # upgrade the cluster",
                "docs/install.md",
            )
        )
    tag = _TAG.search(image)
    if tag and tag[1] != __version__:
        notes.append(
            f"the server's image is {image}, and this command is {__version__}: they may not agree"
        )
    server = f"server {tag[1]}" if tag else "server of unknown version"
    return Verdict(
        f"Kubernetes {kubernetes}, {server}, this command {__version__}",
        tuple(problems),
        tuple(notes),
    )


CHECK = Check(
    name="versions",
    about="Is Kubernetes new enough, and does the server have the same version as this command?",
    finds=("versions",),
    run=_run,
)
