"""Selectors in reviews: only those that surely narrow the question."""

from collections.abc import Mapping
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.auth.request_info import attributes_of
from metrics_server.auth.selectors import (
    Requirement,
    field_requirements,
    label_requirements,
    name_of,
)

METRIC = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/gpu_utilization"


@pytest.mark.parametrize(
    ("selector", "requirements"),
    [
        ("", []),
        ("app=web", [Requirement("app", "In", ("web",))]),
        ("app==web", [Requirement("app", "In", ("web",))]),
        ("app!=web", [Requirement("app", "NotIn", ("web",))]),
        ("tier in (b,a)", [Requirement("tier", "In", ("a", "b"))]),
        ("tier notin (a)", [Requirement("tier", "NotIn", ("a",))]),
        ("app", [Requirement("app", "Exists")]),
        ("!app", [Requirement("app", "DoesNotExist")]),
        ("app=", [Requirement("app", "In", ("",))]),
        ("n>1", []),
        ("n>1,m<3,app=a", [Requirement("app", "In", ("a",))]),
        ("app=a,", []),
        ("app=a,-=b", []),
    ],
)
def test_label_selectors(selector: str, requirements: list[Requirement]) -> None:
    """Requirements that a review cannot express are left out, as are unreadable selectors."""
    assert label_requirements(selector) == tuple(requirements)


@pytest.mark.parametrize(
    ("selector", "requirements"),
    [
        ("", []),
        (",", []),
        ("metadata.name=a", [Requirement("metadata.name", "In", ("a",))]),
        ("metadata.name==a", [Requirement("metadata.name", "In", ("a",))]),
        ("metadata.name!=a", [Requirement("metadata.name", "NotIn", ("a",))]),
        ("b=1,a=2", [Requirement("a", "In", ("2",)), Requirement("b", "In", ("1",))]),
        (r"a=x\,y\=z\\", [Requirement("a", "In", (r"x,y=z" + "\\",))]),
        ("a=", [Requirement("a", "In", ("",))]),
        ("=a", [Requirement("", "In", ("a",))]),
        ("a!b=c", [Requirement("a!b", "In", ("c",))]),
        ("a", []),
        ("a=b,c", []),
        ("a=b=c", []),
        ("a===b", []),
        (r"a=\x", []),
        ("a=b\\", []),
        ("a=\udcff", []),
    ],
)
def test_field_selectors(selector: str, requirements: list[Requirement]) -> None:
    """Field selectors are parsed as in k8s.io/apimachinery/pkg/fields."""
    assert field_requirements(selector) == tuple(requirements)


@pytest.mark.parametrize(
    ("selector", "name"),
    [
        ("metadata.name=a", "a"),
        ("x=y,metadata.name=a", "a"),
        ("metadata.name!=a", ""),
        ("metadata.namespace=a", ""),
        ("metadata.name=a/b", ""),
        ("metadata.name=..", ""),
        ("metadata.name=a%", ""),
        ("", ""),
    ],
)
def test_the_name_that_fields_select(selector: str, name: str) -> None:
    """An object selected by name gives the request its name, if that is valid."""
    assert name_of(field_requirements(selector)) == name


@given(st.text(st.sampled_from("ab=!,\\ .é\udcff()")))
def test_any_selector_is_read_or_left_out(selector: str) -> None:
    """Whatever the input, the result can be sent."""
    for one in (*field_requirements(selector), *label_requirements(selector)):
        assert isinstance("".join((one.key, *one.values)).encode(), bytes)


BOTH: Mapping[str, str] = {"labelSelector": "app=web", "fieldSelector": "metadata.name=a"}


def asked(method: str, **parameters: str) -> tuple[object, ...]:
    """The name, fields and labels of a request with these parameters."""
    query = "&".join(f"{name}={quote(value)}" for name, value in parameters.items())
    told = attributes_of(method, METRIC, query)
    return told.name, told.fields, told.labels


def test_which_requests_select() -> None:
    """Lists, watches and deletecollections do; only reads have a name, as in Go."""
    labels = (Requirement("app", "In", ("web",)),)
    fields = (Requirement("metadata.name", "In", ("a",)),)
    assert asked("GET", **BOTH) == ("a", fields, labels)
    assert asked("GET", watch="true", **BOTH) == ("a", fields, labels)
    assert asked("DELETE", **BOTH) == ("", fields, labels)
    for method in ("POST", "PUT", "PATCH"):
        assert asked(method, **BOTH) == ("", (), ())
    assert attributes_of("GET", "/metrics", "labelSelector=app%3Dweb").labels == ()


def test_the_first_of_a_parameters_values_counts() -> None:
    """The first value counts, because that one is answered."""
    told = attributes_of("GET", METRIC, "labelSelector=app%3Da&labelSelector=app%3Db&x")
    assert told.labels == (Requirement("app", "In", ("a",)),)


def test_all_characters_count() -> None:
    """All parts count toward the length above which nothing is cached."""
    short = attributes_of("GET", METRIC, "")
    long = attributes_of("GET", METRIC, f"labelSelector=app+in+({','.join('ab')})")
    assert long.characters == short.characters + len("appab")
