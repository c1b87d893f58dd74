"""Commands that create again what is missing of an installation, as it was installed (pure)."""

from shlex import quote

from msgspec import Struct

from metrics_server.common.text import printable
from metrics_server.doctor.objects import Meta

CHART = "deployments/helm/gpu-metrics-server"


class Installer(Struct, frozen=True):
    """How the server was installed.

    Attributes:
        release: the name of its Helm release; "" if it was applied from files.
        namespace: of the release.
    """

    release: str = ""
    namespace: str = ""

    def apply(self, file: str, *values: str) -> str:
        """Return the command that creates or corrects objects.

        Args:
            file: the manifest that has them.
            values: the chart's values for them, as --set takes them.
        """
        if not self.release:
            return f"kubectl apply -f {file}"
        sets = f" --set {','.join(values)}" if values else ""
        return f"{self.upgrade} --reuse-values{sets}"

    @property
    def upgrade(self) -> str:
        """The beginning of the command that upgrades the release."""
        return f"helm upgrade {self.named} {CHART}"

    @property
    def named(self) -> str:
        """The release with its namespace, as commands name it; both may be anything."""
        release, namespace = (quote(printable(one, 80)) for one in (self.release, self.namespace))
        return f"{release} --namespace {namespace}"

    def turn_off(self, api: str, setting: str) -> str:
        """Return how to stop serving an API.

        Args:
            api: its name in the chart's values.
            setting: of the server's configuration.
        """
        if not self.release:
            return f"set {setting}: false in the server's configuration"
        return self.apply("", f"apis.{api}=false")


def installer_of(meta: Meta) -> Installer:
    """Return how an object was installed, by what Helm writes into each object."""
    annotations = meta.annotations or {}
    release = annotations.get("meta.helm.sh/release-name", "")
    if not release or (meta.labels or {}).get("app.kubernetes.io/managed-by") != "Helm":
        return Installer()
    return Installer(release, annotations.get("meta.helm.sh/release-namespace", meta.namespace))
