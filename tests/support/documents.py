"""YAML that is long, read by libyaml, which takes a tenth of the time."""

import yaml

from metrics_server.simulator.kube.objects import Object

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(text: str) -> object:
    """The one document of a text."""
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - one of the safe loaders


def load_all(text: str) -> list[Object]:
    """The documents of a text, which are objects, without empty ones."""
    return [one for one in yaml.load_all(text, Loader=_LOADER) if one]
