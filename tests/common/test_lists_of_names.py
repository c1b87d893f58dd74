"""Lists of names in sentences, of one and of several."""

import pytest

from metrics_server.common.text import each_of, named, noun_is


@pytest.mark.parametrize(
    ("names", "expected_named", "expected_subject"),
    [
        (["a"], "pod a", "pod a"),
        (["a", "b"], "pods a, b", "each of pods a, b"),
        (list("abcde"), "pods a, b, c and 2 more", "each of pods a, b, c and 2 more"),
    ],
)
def test_names_with_their_noun(
    names: list[str], expected_named: str, expected_subject: str
) -> None:
    """A verb that follows is in the singular, so several names are each its subject."""
    assert named("pod", names) == expected_named
    assert each_of("pod", names) == expected_subject


def test_a_noun_before_a_list() -> None:
    """With its verb."""
    assert [noun_is("name", number) for number in (1, 2)] == ["name is", "names are"]
