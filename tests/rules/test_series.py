"""Series selectors: the matching rows, and a label value's form in a selector."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.errors import AmbiguousSeriesError
from metrics_server.kube.label_syntax import value_problems
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.series_selectors import split
from metrics_server.rules.series import SeriesMatcher, SeriesSelector, selector_form


def matches(selector: str, **labels: str) -> bool:
    """Whether a row with these labels matches a selector."""
    return SeriesMatcher(split(parse_selector(selector))[1]).matches(labels)


@pytest.mark.parametrize(
    ("selector", "of_a", "of_b", "of_empty", "of_none"),
    [
        ("series/m=a", True, False, False, False),
        ("series/m=", False, False, True, True),
        ("series/m!=a", False, True, True, True),
        ("series/m in (a,b)", True, True, False, False),
        ("series/m in (,b)", False, True, True, True),
        ("series/m notin (a)", False, True, True, True),
        ("series/m notin (,a)", False, True, False, False),
        ("series/m", True, True, False, False),
        ("!series/m", False, False, True, True),
        ("series/m=a,series/n=1", False, False, False, False),
    ],
)
def test_operators(
    selector: str,
    of_a: bool,  # noqa: FBT001
    of_b: bool,  # noqa: FBT001
    of_empty: bool,  # noqa: FBT001
    of_none: bool,  # noqa: FBT001
) -> None:
    """Operators are like those of Kubernetes; an absent label is the same as an empty one."""
    assert matches(selector, m="a") is of_a
    assert matches(selector, m="b") is of_b
    assert matches(selector, m="") is of_empty
    assert matches(selector) is of_none


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("meta-llama/Llama-3.1-8B", "meta-llama_Llama-3.1-8B"),
        ("/models/llama 3/", "models_llama_3"),
        ("NVIDIA A100-SXM4-80GB", "NVIDIA_A100-SXM4-80GB"),
        ("modèle", "mod_le"),
        ("plain-1.0_b", "plain-1.0_b"),
        ("x" * 70, "x" * 63),
        ("x" * 62 + "/" + "y" * 9, "x" * 62),
        ("", ""),
        ("//", "//"),
        ("-", "-"),
    ],
)
def test_the_form_of_a_value(value: str, form: str) -> None:
    """Names of models and GPUs have a form that an HPA can use."""
    assert selector_form(value) == form
    if not value_problems(form):
        assert matches(f"series/m={form}", m=value)


@given(st.text(max_size=300))
def test_every_form_is_valid(value: str) -> None:
    """Kubernetes accepts it, it is its own form, and only a value without letters has none."""
    form = selector_form(value)
    if re.search("[A-Za-z0-9]", value):
        assert not value_problems(form)
        assert form
        assert selector_form(form) == form
    else:
        assert form == value


def test_a_form_of_two_values() -> None:
    """Their rows are not mixed, whatever the operator. Values not selected may share a form."""
    for selector in ("series/m=a_b", "series/m!=a_b", "series/m in (a_b,c)"):
        matcher = SeriesMatcher(split(parse_selector(selector))[1])
        matcher.matches({"m": "a/b"})
        matcher.matches({"m": "a/b"})
        matcher.matches({"m": "x y"})
        matcher.matches({"m": "x/y"})
        with pytest.raises(AmbiguousSeriesError, match='"a_b" could be "a/b" or "a_b"'):
            matcher.matches({"m": "a_b"})


@pytest.mark.parametrize(
    "selector",
    [
        "series/m=a",
        "series/m!=a",
        "series/m",
        "!series/m",
        "series/m in (a,b)",
        "series/m notin (,a)",
    ],
)
def test_the_text_of_a_selector(selector: str) -> None:
    """The text is the same as in a request."""
    pods, series = split(parse_selector(f"app=x,{selector}"))
    assert str(pods) == "app=x"
    assert str(series) == selector
    assert series
    assert not SeriesSelector()
