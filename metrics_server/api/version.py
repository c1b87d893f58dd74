"""The version of this server, as clients of the Kubernetes API read it."""

import platform
import sys

from msgspec import Struct

from metrics_server import __version__


class VersionInfo(Struct, frozen=True, rename="camel"):
    """A version.Info of k8s.io/apimachinery: the answer to /version.

    Attributes:
        major: the first number of the package's version.
        minor: the second.
        git_version: "v" and the package's version.
        git_commit: "", since a package does not know it.
        git_tree_state: "", likewise.
        build_date: the epoch, as in Kubernetes where the date is unknown.
        go_version: the language and its version, such as "python3.11.7".
        compiler: the implementation of Python.
        platform: the operating system and the machine, as "linux/x86_64".
    """

    major: str
    minor: str
    git_version: str
    git_commit: str
    git_tree_state: str
    build_date: str
    go_version: str
    compiler: str
    platform: str


def version_info() -> VersionInfo:
    """The version of this package and of the Python that runs it."""
    major, minor, *_ = __version__.split(".")
    return VersionInfo(
        major=major,
        minor=minor,
        git_version=f"v{__version__}",
        git_commit="",
        git_tree_state="",
        build_date="1970-01-01T00:00:00Z",
        go_version=f"python{platform.python_version()}",
        compiler=platform.python_implementation(),
        platform=f"{sys.platform}/{platform.machine()}",
    )
