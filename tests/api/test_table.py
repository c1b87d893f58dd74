"""The Table that kubectl prints."""

import json

import msgspec

from metrics_server.api.table import EXTERNAL_COLUMNS, Table, table_of
from metrics_server.api.types import ExternalMetricValue, ExternalMetricValueList, encode

VALUES = ExternalMetricValueList(
    items=(
        ExternalMetricValue(
            metric_name="gpu_utilization",
            metric_labels={"source": "exporters", "pods": "2"},
            timestamp="2026-11-24T08:32:41Z",
            value="84",
        ),
    )
)


def test_the_table_on_the_wire() -> None:
    """Fields have the names and order of metav1.Table; a row names its object's kind."""
    table = json.loads(encode(table_of(VALUES, "default")))
    columns = table.pop("columnDefinitions")
    assert table == {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "rows": [
            {
                "cells": ["gpu_utilization", "84", "exporters", "2", "2026-11-24T08:32:41Z"],
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": {"name": "gpu_utilization", "namespace": "default"},
                },
            }
        ],
    }
    assert [column["name"] for column in columns] == [
        "Name",
        "Value",
        "Source",
        "Pods",
        "Timestamp",
    ]
    for column in columns:
        assert list(column) == ["name", "type", "format", "description", "priority"]
        assert column["type"] == "string"
        assert column["description"]


def test_each_value_is_a_row_with_a_cell_for_every_column() -> None:
    """The table is complete for any number of values with any labels."""
    bare = msgspec.structs.replace(VALUES.items[0], metric_labels={})
    table = table_of(ExternalMetricValueList(items=(*VALUES.items, bare)), "default")
    assert [len(row.cells) for row in table.rows] == [len(EXTERNAL_COLUMNS)] * 2
    assert table.rows[1].cells[2:4] == ("<none>", "<none>")
    assert table_of(ExternalMetricValueList(items=()), "default") == Table(
        column_definitions=EXTERNAL_COLUMNS, rows=()
    )
