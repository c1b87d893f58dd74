"""A cache shared by owners: none can take the others' room."""

from hypothesis import given
from hypothesis import strategies as st

from metrics_server.common.shares import SharedCache


def cache(max_bytes: int, over: set[int] | None = None) -> SharedCache[int, int]:
    """A cache of numbers; those in `over` are obsolete."""
    return SharedCache(max_bytes, (over or set[int]()).__contains__)


def test_an_owner_cannot_take_the_room_of_others() -> None:
    """However many values it puts in, the others keep theirs."""
    values = cache(100)
    for number in range(5):
        assert values.put("b", number, number, 10)
    kept = [values.put("a", number, number, 10) for number in range(50)]
    assert kept == [True] * 5 + [False] * 45
    assert all(values.get("b", number) == number for number in range(5))


def test_an_owner_with_more_than_others_makes_room_for_them() -> None:
    """Its own least recently used value is evicted."""
    values = cache(100)
    assert all(values.put("a", number, number, 10) for number in range(10))
    assert values.use("a", 0) == 0
    assert values.put("b", 0, 0, 10)
    assert [values.get("a", number) for number in range(3)] == [0, None, 2]
    assert values.bytes == 100


def test_what_is_no_longer_of_use_makes_room_first() -> None:
    """Obsolete values are evicted first, whoever owns them."""
    over = {0, 1}
    values = cache(20, over)
    assert values.put("b", 0, 0, 10)
    assert values.put("a", 1, 1, 10)
    assert values.put("a", 2, 2, 10)
    assert values.put("a", 3, 3, 10)
    assert not values.put("a", 4, 4, 10)
    assert len(values) == 2


def test_what_is_too_large_evicts_nothing() -> None:
    """Nothing is evicted for a value that would not fit even in an empty cache."""
    values = cache(20)
    assert values.put("a", 0, 0, 20)
    assert not values.put("b", 0, 0, 30)
    assert values.get("a", 0) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 40)), max_size=60))
def test_the_bytes_are_bounded(puts: list[tuple[str, int]]) -> None:
    """An owner with less than a third also keeps everything."""
    values = cache(100)
    kept = dict[tuple[str, int], int]()
    for number, (owner, size) in enumerate(puts):
        if values.put(owner, number, number, size):
            kept[owner, number] = size
        assert values.bytes <= 100
        kept = {one: size for one, size in kept.items() if values.get(*one) is not None}
        assert values.bytes == sum(kept.values())
    for owner in "abc":
        mine = [size for name, size in puts if name == owner]
        if sum(mine) <= 33:
            assert sum(size for (name, _), size in kept.items() if name == owner) == sum(mine)
