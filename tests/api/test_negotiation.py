"""Content negotiation, with what real clients send."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.api.negotiation import Offer, negotiate
from tests.support.data import RECORDINGS

JSON = Offer()
TABLE = Offer(kind="Table", group="meta.k8s.io", version="v1")
DISCOVERY = Offer(kind="APIGroupDiscoveryList", group="apidiscovery.k8s.io", version="v2")
TEXT = Offer(media_type="text/plain")

AS_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "offers", "chosen"),
    [
        # No particular form is wanted.
        (None, [JSON, TABLE], JSON),
        ("", [TABLE, JSON], TABLE),
        ("  ", [JSON], JSON),
        (None, [], None),
        # The plain form.
        ("application/json", [TABLE, JSON], JSON),
        ("application/*", [TABLE, JSON], JSON),
        ("*/*", [TABLE, JSON], JSON),
        ("*", [TABLE, JSON], JSON),
        ("Application/JSON", [JSON], JSON),
        ("application/vnd.kubernetes.protobuf, */*", [TABLE, JSON], JSON),
        ("text/html, image/gif, *; q=.2, */*; q=.2", [JSON], JSON),
        # Another kind, which must be requested with exactly its parameters, in any order.
        (AS_TABLE, [JSON, TABLE], TABLE),
        ("application/json; g=meta.k8s.io; v=v1; as=Table", [JSON, TABLE], TABLE),
        ('application/json;as="Table";v="v1";g="meta.k8s.io"', [JSON, TABLE], TABLE),
        (AS_TABLE, [JSON], None),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", [JSON, TABLE], None),
        ("application/json;as=Table", [JSON, TABLE], None),
        ("application/json;as=table;v=v1;g=meta.k8s.io", [JSON, TABLE], None),
        (f"{AS_TABLE},application/json", [JSON, DISCOVERY], JSON),
        # Order decides among equals, after quality.
        (f"application/json,{AS_TABLE}", [TABLE, JSON], JSON),
        (f"application/json;q=0.5,{AS_TABLE}", [JSON, TABLE], TABLE),
        ("text/plain;q=0.9, application/json;q=0.91", [TEXT, JSON], JSON),
        ("text/plain, application/json", [JSON, TEXT], TEXT),
        # A quality of zero means refused.
        ("application/json;q=0", [JSON], None),
        ("application/json;q=0.000, */*", [JSON], None),
        ("application/json;q=0, */*", [JSON, TEXT], TEXT),
        ("*/*;q=0, application/json", [TEXT, JSON], JSON),
        # Other parameters mean nothing here.
        ("application/json;charset=utf-8;pretty=1;stream=watch", [JSON], JSON),
        ("application/json;pretty", [JSON], JSON),
        # Malformed entries are skipped.
        ("json, /, application/, ;;, application/json/x, application/json", [JSON], JSON),
        ("application/json;q=2, text/plain", [JSON, TEXT], TEXT),
        ("application/json;q=nan, text/plain;q=0.1", [JSON, TEXT], TEXT),
        ("garbage", [JSON], None),
        # Nothing is acceptable.
        ("application/yaml", [JSON, TABLE], None),
        ("text/*", [JSON], None),
        ("application/vnd.kubernetes.protobuf", [JSON], None),
    ],
)
def test_negotiation(accept: str | None, offers: list[Offer], chosen: Offer | None) -> None:
    """The client gets the available form that it prefers."""
    assert negotiate(accept, offers) == chosen


def _recorded_accepts() -> set[str | None]:
    with (RECORDINGS / "aggregator.jsonl").open() as lines:
        headers = [dict(json.loads(line)["headers"]) for line in lines]
    return {header.get("Accept") for header in headers}


def test_every_recorded_client_is_served() -> None:
    """The aggregator, the HPA controller and kubectl each get a form that they know."""
    chosen = {accept: negotiate(accept, [JSON, TABLE, DISCOVERY]) for accept in _recorded_accepts()}
    discovery = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
    assert chosen == {
        None: JSON,
        "application/json": JSON,
        "application/json, */*": JSON,
        "application/vnd.kubernetes.protobuf, */*": JSON,
        f"{discovery.format('v2')},{discovery.format('v2beta1')}": DISCOVERY,
        f"{AS_TABLE},{AS_TABLE.replace('v1', 'v1beta1')},application/json": TABLE,
    }


def test_the_content_type_tells_the_form() -> None:
    """The aggregator recognizes aggregated discovery by the content type's parameters."""
    assert JSON.content_type == "application/json"
    assert DISCOVERY.content_type == (
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    )
    for offer in (JSON, TABLE, DISCOVERY, TEXT):
        assert negotiate(offer.content_type, [JSON, TABLE, DISCOVERY, TEXT]) == offer


@given(
    st.text()
    | st.lists(
        st.sampled_from([*"*/;,= ", "application", "json", "q", "as", "g", "v", "0.5", "Table"])
    ).map("".join)
)
def test_any_text_is_negotiated(accept: str) -> None:
    """No header makes it fail, and it always chooses one of the offers."""
    assert negotiate(accept, [JSON, TABLE]) in (JSON, TABLE, None)
