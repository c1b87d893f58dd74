"""Which entry of podPages.endpoints applies, for any entries."""

from collections.abc import Sequence
from fnmatch import translate
from pathlib import Path
from re import fullmatch

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from metrics_server.rules.model import Endpoint
from metrics_server.sources.pages.access import AccessFiles
from metrics_server.sources.pods.ways import Entry, Ways, merged

TOKEN = Path("/token")
ENTRIES = st.lists(
    st.builds(
        lambda namespaces, metrics: (frozenset(namespaces), tuple(metrics)),
        st.sets(st.sampled_from(["a", "b", "ab"]), max_size=2),
        st.lists(st.sampled_from(["*", "llm_*", "llm_x", "*_x", "inference_*"]), min_size=1),
    ),
    max_size=4,
)
ENDPOINTS = st.builds(
    Endpoint,
    st.sampled_from([None, 1, "metrics"]),
    st.sampled_from([None, "/a", "/b"]),
    st.sampled_from([None, "http", "https"]),
    st.sampled_from([(), (2, 3)]),
)


@given(
    ENTRIES,
    st.sampled_from(["a", "b", "ab", "c", ""]),
    st.sampled_from(["llm_x", "llm_x_sum", "inference_y", "x"]),
)
def test_the_first_entry_for_a_namespace_and_a_metric_applies(
    drawn: Sequence[tuple[frozenset[str], tuple[str, ...]]], namespace: str, metric: str
) -> None:
    """Other entries never apply; two entries never have the same name."""
    entries = [
        Entry(
            namespaces,
            metrics,
            Endpoint(port=number),
            AccessFiles(bearer_token_file=TOKEN, setting=f"podPages.endpoints.{number}"),
        )
        for number, (namespaces, metrics) in enumerate(drawn)
    ]
    way = Ways(entries).of(namespace, metric)
    matching = [
        f"podPages.endpoints.{number}"
        for number, (namespaces, metrics) in enumerate(drawn)
        if namespace in (namespaces or {namespace})
        and any(
            fullmatch(translate(pattern), name)
            for name in (metric, metric.removesuffix("_sum"))
            for pattern in metrics
        )
    ]
    assert way.name == (matching[0] if matching else "")
    assert way.endpoint == (entries[int(way.name[-1])].endpoint if matching else Endpoint())


@given(ENDPOINTS, ENDPOINTS)
def test_a_rule_comes_before_an_entry(rule: Endpoint, entry: Endpoint) -> None:
    """A rule's port, path and scheme take precedence; a port and several ports count as one."""
    found = merged(rule, entry)
    if rule.port is None and not rule.ports:
        assert (found.port, found.ports) == (entry.port, entry.ports)
    else:
        assert (found.port, found.ports) == (rule.port, rule.ports)
    assert found.path == (rule.path or entry.path)
    assert found.scheme == (rule.scheme or entry.scheme)
    assert merged(Endpoint(), entry) == entry
    assert merged(rule, Endpoint()) == rule == structs.replace(rule)


def test_the_sum_of_a_metric_is_read_where_the_metric_is() -> None:
    """Otherwise an entry with several ports would give a sum over only the first of them."""
    only = Entry(frozenset("a"), ("llm_x",), Endpoint(ports=(1, 2)), AccessFiles(setting="s"))
    assert Ways([only]).of("a", "llm_x_sum").endpoint.ports == (1, 2)
    assert Ways([only]).of("a", "llm_y_sum").endpoint == Endpoint()
