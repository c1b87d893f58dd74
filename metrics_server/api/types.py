"""The types of external.metrics.k8s.io and custom.metrics.k8s.io, and the strings inside them."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor, isfinite

import msgspec
from msgspec import UNSET, Struct, UnsetType

from metrics_server.kube.label_selectors import LabelSelector

GROUP = "external.metrics.k8s.io"
VERSION = "v1beta1"
GROUP_VERSION = f"{GROUP}/{VERSION}"

CUSTOM_GROUP = "custom.metrics.k8s.io"
CUSTOM_VERSIONS = ("v1beta2", "v1beta1")
"""The versions served, the preferred one first."""

QUANTITY_LIMIT = 9.2e15
"""From here on, a value's milli-units overflow the HPA controller's 64 bits."""

_MAX_DECIMALS = 3
_MILLI_SUFFIXES = ("m", "", "k", "M", "G", "T", "P")

# The grammar is documented at k8s.io/apimachinery/pkg/api/resource.Quantity.
_QUANTITY = re.compile(
    r"(?P<sign>[+-]?)(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)"
    r"(?:[eE](?P<exponent>[+-]?[0-9]{1,3})|(?P<suffix>[numkMGTPE]|[KMGTPE]i)?)",
)
_SUFFIXES: Mapping[str, Fraction] = {
    "": Fraction(1),
    **{suffix: Fraction(1, 1000**power) for power, suffix in enumerate("mun", 1)},
    **{suffix: Fraction(1000**power) for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(1024**power) for power, suffix in enumerate("KMGTPE", 1)},
}
_INT64_LIMIT = 2**63


class ListMeta(Struct, frozen=True):
    """metav1.ListMeta, always empty: nothing is paginated or versioned."""


class ExternalMetricValue(Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One value of an external metric.

    Attributes:
        metric_name: the metric's name.
        metric_labels: details of the value, for people.
        timestamp: when it was read, as `format_timestamp` writes it.
        window: over how many seconds it was taken; None omits it.
        value: a resource.Quantity, as `format_quantity` writes it.
    """

    metric_name: str
    metric_labels: Mapping[str, str]
    timestamp: str
    window: int | None = None
    value: str


class ExternalMetricValueList(Struct, frozen=True, rename="camel", kw_only=True):
    """The answer to a metric request.

    Attributes:
        kind: ExternalMetricValueList.
        api_version: the group and version.
        metadata: empty.
        items: the values. The HPA adds them up, and treats an empty list as an error.
    """

    kind: str = "ExternalMetricValueList"
    api_version: str = GROUP_VERSION
    metadata: ListMeta = ListMeta()
    items: tuple[ExternalMetricValue, ...]


class ObjectReference(Struct, frozen=True, rename="camel"):
    """A core/v1 ObjectReference: the object that a value describes.

    Attributes:
        kind: its kind.
        namespace: its namespace.
        name: its name; the HPA matches the values of pods by it.
        api_version: its apiVersion, "/v1" for core kinds, as custom-metrics-apiserver writes it.
    """

    kind: str
    namespace: str
    name: str
    api_version: str = "/v1"


class MetricIdentifier(Struct, frozen=True):
    """Which metric a value is of.

    Attributes:
        name: the metric's name.
        selector: what metricLabelSelector asked for.
    """

    name: str
    selector: LabelSelector | None = None


class MetricValue(Struct, frozen=True, rename="camel", kw_only=True):
    """One value of a custom metric, in v1beta2.

    Attributes:
        described_object: what it describes.
        metric: which metric it is of.
        timestamp: when it was read, as `format_timestamp` writes it.
        window_seconds: over how many seconds it was taken; omitted where it is not a mean over any.
        value: a resource.Quantity, as `format_quantity` writes it.
    """

    described_object: ObjectReference
    metric: MetricIdentifier
    timestamp: str
    window_seconds: int | UnsetType = UNSET
    value: str


class MetricValueV1beta1(Struct, frozen=True, rename="camel", kw_only=True):
    """One value of a custom metric, in v1beta1; see `MetricValue`."""

    described_object: ObjectReference
    metric_name: str
    timestamp: str
    window: int | UnsetType = UNSET
    value: str
    selector: LabelSelector | None = None


class MetricValueList(Struct, frozen=True, rename="camel", kw_only=True):
    """The answer to a request for a custom metric, in v1beta2.

    Attributes:
        kind: MetricValueList.
        api_version: the group and version.
        metadata: empty.
        items: one for each pod, or one for any other object; never empty, which the HPA treats as
            an error.
    """

    kind: str = "MetricValueList"
    api_version: str = f"{CUSTOM_GROUP}/v1beta2"
    metadata: ListMeta = ListMeta()
    items: tuple[MetricValue, ...]


class MetricValueListV1beta1(Struct, frozen=True, rename="camel", kw_only=True):
    """The answer to a request for a custom metric, in v1beta1; see `MetricValueList`."""

    kind: str = "MetricValueList"
    api_version: str = f"{CUSTOM_GROUP}/v1beta1"
    metadata: ListMeta = ListMeta()
    items: tuple[MetricValueV1beta1, ...]


_encoder = msgspec.json.Encoder()


def encode(answer: Struct) -> bytes:
    """An object of the API as JSON, its fields in the order of its type."""
    return _encoder.encode(answer)


# An answer may have the values of thousands of pods, many of them equal.
@lru_cache(maxsize=4096)
def format_quantity(value: float, decimals: int) -> str:
    """A value as a resource.Quantity in canonical form: "84", "83500m", "1500", "12M", "0".

    Canonical means an integer with the largest suffix possible.

    Args:
        value: from 0 up to, not including, `QUANTITY_LIMIT`. Other Quantities are valid, but the
            HPA takes a negative or overflowing one for the largest possible.
        decimals: to how many places it is rounded, half up; from 0 to 3.

    Raises:
        ValueError: an argument is out of its range, or the value is not a number.
    """
    if not isfinite(value) or not 0 <= value < QUANTITY_LIMIT:
        raise ValueError(
            f"{value} is not a quantity for an HPA: it must be a number from 0 to {QUANTITY_LIMIT}"
        )
    if not 0 <= decimals <= _MAX_DECIMALS:
        raise ValueError(f"{decimals} decimal places: it must be from 0 to {_MAX_DECIMALS}")
    # From the shortest decimal of the float: 0.285 should round up, though the float is slightly
    # below it.
    exact = Decimal(repr(float(value)))
    amount = int(exact.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP).scaleb(3))
    if amount == 0:
        return "0"
    power = 0
    while amount % 1000 == 0:
        amount //= 1000
        power += 1
    return f"{amount}{_MILLI_SUFFIXES[power]}"


def milli_value(quantity: str) -> int:
    """A resource.Quantity in thousandths, rounded up, away from zero, as the HPA reads it.

    Args:
        quantity: any form that Kubernetes documents: "84", "83500m", "1.5", "1k", "2Gi", "1e3".

    Raises:
        ValueError: it is not a quantity, or its thousandths do not fit in 64 bits.
    """
    parts = _QUANTITY.fullmatch(quantity)
    if parts is None:
        raise ValueError(
            f'"{quantity}" is not a quantity: write it like 84, 83500m, 1.5, 1k or 2Gi'
        )
    exponent = parts["exponent"]
    unit = Fraction(10) ** int(exponent) if exponent else _SUFFIXES[parts["suffix"] or ""]
    thousandths = ceil(Fraction(parts["number"]) * unit * 1000)
    if thousandths >= _INT64_LIMIT:
        raise ValueError(f'"{quantity}" is too large: its thousandths do not fit in 64 bits')
    return -thousandths if parts["sign"] == "-" else thousandths


def format_timestamp(seconds: float) -> str:
    """A time in RFC 3339, UTC, in whole seconds: "2026-11-24T08:32:41Z".

    Args:
        seconds: since the epoch. Fractions are cut off, so that a value never seems newer than it
            is.
    """
    return _formatted_second(floor(seconds))


@lru_cache(maxsize=256)
def _formatted_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
