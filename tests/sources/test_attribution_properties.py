"""No damage to a page leads to a wrong value."""

import re
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from metrics_server.sources.exporters.pod_mapper import attribute
from metrics_server.sources.exporters.sheet import Sheet
from tests.support.attribution import METRICS, PAGES, READINGS, UTILIZATION, flat


def shuffle_labels(line: str, random: Random) -> str:
    """A row with its labels in another order; other lines are unchanged."""
    row = re.fullmatch(r'(\w+)\{((?:\w+="[^"]*",?)+)\} (\S+)', line)
    if row is None:
        return line
    labels = re.findall(r'\w+="[^"]*"', row[2])
    random.shuffle(labels)
    return f"{row[1]}{{{','.join(labels)}}} {row[3]}"


@settings(deadline=None)
@given(
    st.sampled_from(sorted(PAGES)),
    st.sampled_from(METRICS),
    # A page has more lines than hypothesis would choose an order for.
    st.integers(0, 2**32).map(Random),
)
def test_order_does_not_matter(name: str, metric: str, random: Random) -> None:
    """A page with its lines and the labels of each row shuffled yields the same."""
    lines = PAGES[name].decode().splitlines()
    shuffled = [shuffle_labels(line, random) for line in lines]
    random.shuffle(shuffled)
    page, other = ("".join(f"{line}\n" for line in some).encode() for some in (lines, shuffled))
    assert attribute(Sheet(other), READINGS[metric]) == attribute(Sheet(page), READINGS[metric])


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(PAGES)), st.sampled_from(METRICS))
def test_damage_never_makes_a_value(data: st.DataObject, name: str, metric: str) -> None:
    """With flipped bits, inserted bytes and a cut, nothing raises, and values stay in range.

    A flipped digit cannot be detected; a value out of range can.
    """
    families = tuple(reading.family.encode() for reading in READINGS[metric])
    lines = PAGES[name].splitlines(keepends=True)
    page = bytearray(b"".join(line for line in lines if line.startswith(families)))
    last = st.integers(0, max(len(page) - 1, 0))
    for at, bit in data.draw(st.lists(st.tuples(last, st.integers(0, 7)), max_size=60)):
        page[at : at + 1] = bytes(byte ^ (1 << bit) for byte in page[at : at + 1])
    for at, noise in data.draw(st.lists(st.tuples(last, st.binary(max_size=6)), max_size=6)):
        page[at:at] = noise
    del page[data.draw(last) :]
    for value in flat(attribute(Sheet(bytes(page)), READINGS[metric])).values():
        assert any(
            reading.minimum * reading.scale <= value <= reading.maximum * reading.scale
            for reading in READINGS[metric]
        )


@settings(deadline=None)
@given(st.binary())
def test_no_page_raises(page: bytes) -> None:
    """Anything that is not a page has no pods."""
    assert attribute(Sheet(page), UTILIZATION).by_pod == {}


@settings(deadline=None)
@given(
    # Only at a page's end is it known what it says about a whole GPU, or each of its parts.
    st.sampled_from(
        sorted(
            name
            for name in PAGES.keys() - {"dcgm-malformed-lines", "dcgm-odd-values"}
            if "time-slicing" not in name and "amd" not in name
        )
    ),
    # A cut may leave only the second reading of a GPU.
    st.sampled_from([metric for metric in METRICS if metric != "gpu_utilization"]),
    st.data(),
)
def test_a_page_cut_short_tells_less_and_nothing_else(
    name: str, metric: str, data: st.DataObject
) -> None:
    """Each value on a page that is cut anywhere is also on the whole page."""
    page = PAGES[name]
    cut = data.draw(st.integers(0, len(page)))
    whole = flat(attribute(Sheet(page), READINGS[metric]))
    assert flat(attribute(Sheet(page[:cut]), READINGS[metric])).items() <= whole.items()
