"""The series that a PromQL expression reads."""

import pytest

from metrics_server.rules.expressions import Selector, read


@pytest.mark.parametrize(
    ("text", "selectors"),
    [
        ("up{}", ["up{}"]),
        ('{__name__="up"}', ['{__name__="up"}']),
        (
            '-a:b{c="}"} / a {b=\'{\'} or {c=`"`, d!~"x"}',
            ['a:b{c="}"}', "a{b='{'}", '{c=`"`, d!~"x"}'],
        ),
        ("sum(a{}) + 1e3 * 0x1F - .5 ^ -Inf % NAN", ["a{}"]),
        ("SUM BY (le, pod) (a{}) == BOOL b{}", ["a{}", "b{}"]),
        ("sum(a{}) by (pod) > bool on (pod, b,) group_left (x) c{}", ["a{}", "c{}"]),
        ("a{} and ignoring (b) group_right c{} unless on () {d='e'}", ["a{}", "c{}", "{d='e'}"]),
        ("a{} * on (x) group_left {b='c'}", ["a{}", "{b='c'}"]),
        ("topk by (pod) (3, a{}) > time() or vector(1) atan2 pi()", ["a{}"]),
        ("histogram_quantile(0.9, a{}) # b\r or c{}", ["a{}", "c{}"]),
        ('label_replace(a{}, "b{}", "$1", `c{}`, "(.*)")', ["a{}"]),
        (
            "sum{} + by{} + offset{} + and{} + start{} and or{}",
            ["sum{}", "by{}", "offset{}", "and{}", "start{}", "or{}"],
        ),
        ('a{b="<<"} < c{}\t>=(d{})', ['a{b="<<"}', "c{}", "d{}"]),
        ("a{} + a{}", ["a{}"]),
        ('{"a.b", "c d"="e"}', ['{"a.b", "c d"="e"}']),
    ],
)
def test_present_samples(text: str, selectors: list[str]) -> None:
    """Each selector is found once, whatever is around it."""
    assert read(text).selectors == tuple(map(Selector, selectors))


@pytest.mark.parametrize(
    ("text", "selectors"),
    [
        ("rate(a{}[5m])", {"a{}": 300}),
        ("rate(a [ 1h30m ]) + b{}", {"a": 5400, "b{}": 0}),
        ("max_over_time(a{}[10m:])", {"a{}": 900}),
        ("max_over_time(rate(a{}[2m])[10m:1m]) + b{}", {"a{}": 1020, "b{}": 900}),
        ("avg_over_time(sum(a{}) by (b) [1d:500ms])", {"a{}": 86700}),
        ("avg_over_time(max_over_time(a{}[1w:])[2w:])", {"a{}": 3 * 604_800 + 300}),
    ],
)
def test_samples_of_the_past(text: str, selectors: dict[str, float]) -> None:
    """Ranges and subqueries look back, too far rather than too little."""
    assert {one.text: one.reach for one in read(text).selectors} == selectors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("up", "up has no braces: if it is a metric, write up{} or, better, select its series"),
        ("sum(up)", "up{namespace=<<.Namespace>>}"),
        ("sum(a{}) / sum", "sum has no braces"),
        ("a{} + by", "by has no braces"),
        ("a{} or offset - 1", "offset has no braces"),
        ("topk(3, a:b)", "a:b has no braces"),
        ("a{} default 0", "'default' is not expected here"),
        ("a{} if b{}", "'if' is not expected here"),
        ("WITH (x = a{}) x", "x has no braces"),
        ("a{} offset 5m", "offset reads samples of another time, and only current ones count"),
        ("rate(a{}[5m] OFFSET 1w)", "offset reads samples of another time"),
        ("a{} @ 1700000000", "@ reads samples of another time"),
        ("max_over_time(a{}[5m:] @ end())", "@ reads samples of another time"),
        ("vector(1)", "reads no series: its value would not be a measurement"),
        ("hour() > bool 8", "reads no series"),
        (" + ".join(f"a{number}{{}}" for number in range(11)), "reads 11 different selectors"),
        ("rate(a{}[5i])", "[5i] is not a range such as [5m]"),
        ("rate(a{}[$__rate_interval])", "is not a range such as [5m]"),
        ("rate(a{}[0s])", "is not a range such as [5m]"),
        ("rate((a{})[5m])", "[5m] must come directly after a selector"),
        ("a{b=c{}}", "is not understood: write plain PromQL"),
        ("a{} = b{}", "'=' is not expected here"),
        ("a{}\u00a0", "is not understood: write plain PromQL"),
        ("12abc + a{}", "is not understood: write plain PromQL"),
        ("'a{}", "is not understood: write plain PromQL"),
        ("sum by (a{}) (b{})", "is not expected here"),
        ("sum by pod (b{})", "'pod' is not expected here"),
        ("sum by (pod) b{}", "'b' is not expected here"),
        ("a{} * on (b) group_left (c{})", "'{}' is not expected here"),
        ("sum(a{}", ") is missing at the end"),
        ("a{})", ") has no opening bracket"),
        ("a{}, b{}", "',' is not expected here"),
        ("a{} +", "ends where more must follow"),
        ("sum by (a", "ends where more must follow"),
        ("a{} b{}", "'b' is not expected here"),
    ],
)
def test_expressions_that_are_rejected(text: str, message: str) -> None:
    """An expression is rejected if samples may be unknown or old, or it is not plain PromQL."""
    with pytest.raises(ValueError, match=r".") as raised:
        read(text)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "apart"),
    [
        ("a{}", True),
        ("sum by (pod) (a{}) / on (pod, x) sum(b{}) by (x, pod)", True),
        ("sum without (code) (rate(a{}[5m])) * ignoring (code) group_left b{}", True),
        ("histogram_quantile(0.9, sum by (le, pod) (rate(a{}[5m])))", True),
        ("sum(a{})", False),
        ("sum by (x) (a{})", False),
        ("sum without (pod) (a{})", False),
        ("a{} / on (x) group_left b{}", False),
        ("a{} / ignoring (pod) b{}", False),
        ("a{} / scalar(b{})", False),
        ("sum by (pod) (a{}) / max(a{})", False),
        ("label_replace(a{}, 'pod', '$1', 'x', '(.*)')", False),
        ("count_values by (pod) ('pod', a{})", False),
    ],
)
def test_whether_pods_are_kept_apart(text: str, apart: bool) -> None:  # noqa: FBT001
    """A pod's value depends only on its own samples if no other pod's can affect it."""
    assert read(text).keeps_apart("pod") is apart
