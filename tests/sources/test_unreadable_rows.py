"""A row of a pod's page that cannot be read is never left out of a sum."""

import pytest

from metrics_server.rules.model import MetricRule, Reading
from metrics_server.rules.serving import SERVING
from metrics_server.sources.pods.page import PodPage
from metrics_server.sources.pods.rows import NoValue
from tests.support.pod_pages import value_by

WAITING = next(rule for rule in SERVING if rule.name == "llm_requests_waiting")
FIRST = b'vllm:num_requests_waiting{engine="0",model_name="m"} 3\n'


def waiting(*rows: bytes) -> object:
    """The value of a page with the first engine and these rows."""
    return value_by(PodPage("u", b"".join([FIRST, *rows]), 0), WAITING)


@pytest.mark.parametrize(
    "rest",
    [
        b'{engine="1"} N/A',
        b'{engine="1"} ',
        b'{engine="1"}',
        b'{engine="1" 40',
        b'{engine="1"} 40 1700000000.123',
        b'{engine="1"} 0x1p5',
        b'{engine="1"} -nan',
        b'{engine="1"} +NaN',
        b'{engine="\xff"} 40',
        b";engine=1 40",
        b"",
    ],
)
def test_a_row_that_cannot_be_read_makes_no_value(rest: bytes) -> None:
    """Prometheus would reject the whole page; the reason names the row."""
    row = b"vllm:num_requests_waiting" + rest
    shown = row.decode(errors="replace")
    assert waiting(row + b"\n") == NoValue(f"has a row that cannot be read: {shown}")


@pytest.mark.parametrize(
    "line",
    [
        b"# HELP vllm:num_requests_waiting N/A",
        b'vllm:num_requests_waiting_total{engine="1"} N/A',
        b'other{of="vllm:num_requests_waiting"} N/A',
    ],
)
def test_rows_of_other_families_do_not_matter(line: bytes) -> None:
    """Whether or not they can be read."""
    assert waiting(line + b"\n") == 3


def test_a_backslash_that_escapes_nothing_is_read() -> None:
    """As in Prometheus, it stands for itself."""
    assert waiting(rb'vllm:num_requests_waiting{model_name="C:\models\m"} 40' + b"\n") == 43


@pytest.mark.parametrize(
    "row",
    [
        b'vllm:num_requests_waiting{model_name="m",engine="0"} 40\n',
        b'vllm:num_requests_waiting{engine="0",model_name="m",role=""} 40\n',
        b'vllm:num_requests_waiting{ engine="0", model_name="m" } 40\n',
    ],
)
def test_a_series_twice_is_recognized_however_it_is_written(row: bytes) -> None:
    """Two values of it are none; the same value twice is that value."""
    why = NoValue("has two values for one row of vllm:num_requests_waiting")
    assert waiting(row) == why
    assert waiting(row.replace(b"40", b"3")) == 3


def test_a_row_that_cannot_be_read_is_not_a_missing_row() -> None:
    """It is not 0, neither itself nor beside a family that shows that nothing waits."""
    readings = (Reading("queue", 0, 100, zero_beside=("up",)),)
    rule = MetricRule("q", "", "", readings, 100, measures="pods", sources=("pods",))
    for page, expected in (
        (b"up 1\n", 0.0),
        (b"up 1\nqueue N/A\n", NoValue("has a row that cannot be read: queue N/A")),
        (
            b"up N/A\n",
            NoValue("has none of the families that q is read from, such as queue"),
        ),
    ):
        assert value_by(PodPage("u", page, 0), rule) == expected
