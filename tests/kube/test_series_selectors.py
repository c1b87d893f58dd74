"""A metric's selector is split into requirements on pods and on rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_server.errors import BadRequestError
from metrics_server.kube.labels import parse_selector
from metrics_server.kube.series_selectors import split
from metrics_server.rules.series import SeriesSelector

KEYS = st.sampled_from(["app", "series/a", "series/b", "other/a", "seriesx/a", "series"])
VALUES = st.sampled_from(["x", "y", "z-1"])
REQUIREMENTS = st.one_of(
    st.builds("{}={}".format, KEYS, VALUES),
    st.builds("{}!={}".format, KEYS, VALUES),
    st.builds("{} in ({},{})".format, KEYS, VALUES, VALUES),
    st.builds("{} notin ({})".format, KEYS, VALUES),
    KEYS,
    KEYS.map("!{}".format),
)


@given(st.lists(REQUIREMENTS, max_size=6))
def test_split(requirements: list[str]) -> None:
    """Each requirement is in one of the two; both texts parse to the same again."""
    whole = parse_selector(",".join(requirements))
    pods, series = split(whole)
    assert not any(one.key.startswith("series/") for one in pods.requirements)
    again = parse_selector(",".join(filter(None, (str(pods), str(series)))))
    assert split(again) == (pods, series)


def test_without_series() -> None:
    """A selector with only requirements on pods is not copied."""
    whole = parse_selector("app=x,series=y")
    pods, series = split(whole)
    assert pods is whole
    assert series == SeriesSelector()


@pytest.mark.parametrize("selector", ["series/a>1", "series/a<1"])
def test_comparisons_are_refused(selector: str) -> None:
    """HPAs do not have them, and the values are text."""
    with pytest.raises(BadRequestError, match=r"cannot be compared by > or <"):
        split(parse_selector(selector))
