"""The facts about a vendor's exporters, as data."""

from collections.abc import Mapping

from msgspec import Struct

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.families import Kind
from metrics_server.rules.lookup import Counters
from metrics_server.rules.model import Reading


class Use(Struct, frozen=True):
    """How a metric uses a family if its value is not simply every row.

    Attributes:
        family: a family of one of the vendor's kinds, which define its range and parts.
        where: further labels that a row must have, and their exact values.
        unless: a reading that contradicts a value of 0, as in `Reading.unless`.
        share_of: families whose sum divides the value: the metric is a share, in percent.
    """

    family: str
    where: tuple[tuple[str, str], ...] = ()
    unless: Reading | None = None
    share_of: tuple[str, ...] = ()


class Service(Struct, frozen=True):
    """A Service whose endpoints are exporters."""

    namespace: str
    name: str


class Hints(Struct, frozen=True):
    """What to do about a page of the vendor's exporter, as sentence fragments; "" if unknown.

    Attributes:
        pods: what the exporter needs to name any pods.
        claims: what it needs to name pods with ResourceClaims.
        resources: its setting for the resources that it looks for.
        duplicates: which exporters write a label twice.
    """

    pods: str
    claims: str = ""
    resources: str = ""
    duplicates: str = ""


class Vendor(Struct, frozen=True):
    """Everything known about a vendor's exporters.

    Attributes:
        name: the name of its file.
        dialects: how they label GPU rows, in order of preference.
        kinds: their families, each once.
        metrics: for each metric of the catalogue, what it is read from, in order of preference: a
            family, which means all names of its quantity, or a `Use` of one.
        counters: their families that only ever grow.
        gpu_resources: the resources that count as GPUs, as shell patterns.
        shared_suffixes: suffixes of resource names that mark shares of a GPU.
        services: the Services to find exporters through by default.
        hints: what to do about a page without a value.
    """

    name: str
    dialects: tuple[Dialect, ...] = ()
    kinds: tuple[Kind, ...] = ()
    metrics: Mapping[str, tuple[str | Use, ...]] = {}
    counters: tuple[Counters, ...] = ()
    gpu_resources: tuple[str, ...] = ()
    shared_suffixes: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()
    hints: Hints | None = None
