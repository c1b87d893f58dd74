"""What there is to know of a vendor's exporters, as values."""

from collections.abc import Mapping

from msgspec import Struct

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.families import Kind
from metrics_server.rules.model import Counters, Reading


class Use(Struct, frozen=True):
    """How a metric uses a family of which not simply every row is its value.

    Attributes:
        family: one of the vendor's kinds, which has its range and its parts.
        where: further labels that a row must have, with just these values.
        unless: what contradicts a value of 0, as `Reading.unless`.
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
    """What to do about a page of the vendor's exporter, as parts of sentences; "" where unknown.

    Attributes:
        pods: what the exporter needs to name pods at all.
        claims: what it needs to name pods of ResourceClaims.
        resources: its setting with the resources that it looks for.
        duplicates: which exporters write one label twice.
    """

    pods: str
    claims: str = ""
    resources: str = ""
    duplicates: str = ""


class Vendor(Struct, frozen=True):
    """What is known of a vendor's exporters.

    Attributes:
        name: of the file that has it.
        dialects: how they label the rows of GPUs, in order of preference.
        kinds: their families, each once.
        metrics: by the name of a metric of the catalogue, what it is read from, in order of
            preference: a family, which stands for all names of its quantity, or a `Use` of one.
        counters: their families that only ever grow.
        gpu_resources: the resources that count as GPUs, as shell patterns.
        shared_suffixes: what the names of resources end with that are shares of a GPU.
        services: where exporters are looked for by default.
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
