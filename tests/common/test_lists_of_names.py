"""Lists of one or more names in sentences."""

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
    """The following verb is singular, so several names become "each of" them."""
    assert named("pod", names) == expected_named
    assert each_of("pod", names) == expected_subject


def test_a_noun_before_a_list() -> None:
    """The verb agrees with the number."""
    assert [noun_is("name", number) for number in (1, 2)] == ["name is", "names are"]
