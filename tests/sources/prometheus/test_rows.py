"""From series back to the rows of a page."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.sources.pages.exposition import parse_labels, rows
from metrics_server.sources.prometheus.rows import group_of, node_of, renamed, row

NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: not name.startswith("exported_") and name != "__name__"
)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.dictionaries(NAMES, VALUES, max_size=5), st.floats())
def test_a_row_is_read_as_it_was_written(labels: dict[str, str], value: float) -> None:
    """A row with any labels is valid, and read back unchanged."""
    (found,) = rows(row("family", labels, value, frozenset()).encode(), "family")
    assert parse_labels(found.labels) == labels
    assert found.value == value or math.isnan(value)


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        # The target has its own namespace and pod.
        (
            {
                "exported_pod": "web-0",
                "exported_namespace": "ml",
                "pod": "dcgm",
                "namespace": "gpu",
            },
            {"pod": "web-0", "namespace": "ml"},
        ),
        # An idle GPU on the same page, with empty labels.
        ({"pod": "dcgm", "namespace": "gpu", "gpu": "1"}, {"gpu": "1"}),
        (
            {"exported_pod": "web-0", "exported_exported_pod": "x"},
            {"pod": "web-0", "exported_pod": "x"},
        ),
    ],
)
def test_renamed_labels_are_restored(series: dict[str, str], expected: dict[str, str]) -> None:
    """The target's labels are left out of all rows of a page that has renamed ones."""
    without = renamed([*series, "exported_pod", "exported_namespace"])
    (found,) = rows(row("family", series, 1, without).encode(), "family")
    assert parse_labels(found.labels) == expected


def test_names_that_are_not_of_the_format() -> None:
    """Prometheus 3 allows any name, but no known exporter's page has them."""
    assert row("a.b", {}, 1, frozenset()) == ""
    assert row("a", {"b.c": "d", "e": "f"}, 1, frozenset()) == 'a{e="f"} 1\n'


def test_pages_are_distinguished() -> None:
    """Pages differ by target, node, and replica of Prometheus."""
    one = {"instance": "a", "job": "b", "kubernetes_node": "n1", "replica": "r"}
    assert group_of(one) != group_of({**one, "replica": "s"})
    assert group_of(one) == group_of({**one, "pod": "x"})
    assert (node_of(group_of(one)), node_of(group_of({"instance": "a"}))) == ("n1", "")
