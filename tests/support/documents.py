"""Long YAML, read by libyaml, which takes a tenth of the time."""

import yaml

from metrics_server.simulator.kube.objects import Object

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(text: str) -> object:
    """The only document in a text."""
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - one of the safe loaders


def load_all(text: str) -> list[Object]:
    """The documents in a text, all objects, without empty ones."""
    return [one for one in yaml.load_all(text, Loader=_LOADER) if one]
