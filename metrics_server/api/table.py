"""The meta.k8s.io/v1 Table of metric values, from which `kubectl get` prints columns.

Without it, `kubectl get gpu_utilization.external.metrics.k8s.io` fails, because kubectl has no
built-in columns for a kind that it does not know.
"""

from msgspec import Struct

from metrics_server.api.types import (
    ExternalMetricValue,
    ExternalMetricValueList,
    ListMeta,
    MetricValueList,
)

TABLE_GROUP = "meta.k8s.io"
TABLE_VERSION = "v1"
_API_VERSION = f"{TABLE_GROUP}/{TABLE_VERSION}"

# What kubectl prints where an object has nothing to show.
_NONE = "<none>"


class TableColumnDefinition(Struct, frozen=True):
    """metav1.TableColumnDefinition.

    Attributes:
        name: the column's heading, which kubectl prints in capitals.
        type: an OpenAPI type.
        format: an OpenAPI format; "name" marks the column that identifies the row.
        description: one line for a person.
        priority: 0 is always printed, more only with `--output wide`.
    """

    name: str
    type: str
    format: str
    description: str
    priority: int = 0


class ObjectMeta(Struct, frozen=True):
    """metav1.ObjectMeta, as far as a row needs it.

    Attributes:
        name: the name of the row's object.
        namespace: its namespace, or that of the pods measured.
    """

    name: str
    namespace: str


class PartialObjectMetadata(Struct, frozen=True, rename="camel", kw_only=True):
    """metav1.PartialObjectMetadata: which object a row stands for."""

    kind: str = "PartialObjectMetadata"
    api_version: str = _API_VERSION
    metadata: ObjectMeta


class TableRow(Struct, frozen=True):
    """metav1.TableRow.

    Attributes:
        cells: one for each column.
        object: which object the row stands for; where it has no kind, kubectl prints no cells.
    """

    cells: tuple[str, ...]
    object: PartialObjectMetadata


EXTERNAL_COLUMNS: tuple[TableColumnDefinition, ...] = (
    TableColumnDefinition("Name", "string", "name", "The external metric's name."),
    TableColumnDefinition("Value", "string", "", "The value, as a resource.Quantity."),
    TableColumnDefinition("Source", "string", "", "Where the value comes from."),
    TableColumnDefinition("Pods", "string", "", "How many pods it was measured on."),
    TableColumnDefinition("Timestamp", "string", "date-time", "When the oldest sample was read."),
)
CUSTOM_COLUMNS: tuple[TableColumnDefinition, ...] = (
    TableColumnDefinition("Name", "string", "name", "The name of the pod, or of another object."),
    TableColumnDefinition("Metric", "string", "", "The metric's name."),
    TableColumnDefinition("Value", "string", "", "The value, as a resource.Quantity."),
    TableColumnDefinition("Timestamp", "string", "date-time", "When the oldest sample was read."),
)


class Table(Struct, frozen=True, rename="camel", kw_only=True):
    """metav1.Table.

    Attributes:
        kind: Table.
        api_version: meta.k8s.io/v1.
        metadata: empty.
        column_definitions: the columns.
        rows: one for each value.
    """

    kind: str = "Table"
    api_version: str = _API_VERSION
    metadata: ListMeta = ListMeta()
    column_definitions: tuple[TableColumnDefinition, ...]
    rows: tuple[TableRow, ...]


def table_of(values: ExternalMetricValueList, namespace: str) -> Table:
    """The values as a Table.

    Args:
        values: the answer as a list; the labels "source" and "pods" become columns.
        namespace: the namespace of the pods.
    """
    return Table(
        column_definitions=EXTERNAL_COLUMNS,
        rows=tuple(_row(value, namespace) for value in values.items),
    )


def custom_table_of(values: MetricValueList) -> Table:
    """The values of a custom metric as a Table, one row for each object."""
    return Table(
        column_definitions=CUSTOM_COLUMNS,
        rows=tuple(
            TableRow(
                cells=(
                    value.described_object.name,
                    value.metric.name,
                    value.value,
                    value.timestamp,
                ),
                object=PartialObjectMetadata(
                    metadata=ObjectMeta(
                        value.described_object.name, value.described_object.namespace
                    )
                ),
            )
            for value in values.items
        ),
    )


def _row(value: ExternalMetricValue, namespace: str) -> TableRow:
    labels = value.metric_labels
    return TableRow(
        cells=(
            value.metric_name,
            value.value,
            labels.get("source", _NONE),
            labels.get("pods", _NONE),
            value.timestamp,
        ),
        object=PartialObjectMetadata(metadata=ObjectMeta(value.metric_name, namespace)),
    )
