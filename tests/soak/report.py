"""The results, minute by minute, and what the server did wrong."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import linear_regression, median, quantiles

from msgspec import Struct, field

from tests.soak.callers import Tally
from tests.soak.sampling import Sample

MIB = 1024 * 1024
# In the second half of a run.
MOST_GROWTH_MIB_PER_HOUR = 16.0
# In a shorter time, growth means nothing.
LEAST_SECONDS_FOR_GROWTH = 600
MOST_RESIDENT_MIB = 400
# Open connections come and go; a leak grows by the hundred faults.
MORE_TASKS, MORE_DESCRIPTORS = 10, 20


class Minute(Struct):
    """A minute of the run.

    Attributes:
        tally: what callers saw.
        samples: of the process.
        levels: how many lines of each level it logged.
    """

    tally: Tally
    samples: list[Sample] = field(default_factory=list)
    levels: Mapping[str, int] = field(default_factory=dict)


class Record(Struct):
    """The results of the run.

    Attributes:
        seed: of the run.
        minutes: one after the other.
        seconds: how long it has run.
        driver_cpu: this process's processor time in seconds.
        recoveries: how many seconds each recovery took.
        quiet_seconds: how long every answer had to be exactly right.
        quiet_answers: how many answers HPAs got then.
        faults: how often each was injected.
        seconds_by_caller: how long each answer took.
        answered: how many answers there were, by caller and status.
        events: how many lines were logged, by level and event.
        baseline: the process before the first fault.
        final: after the last.
        failures: what the server did wrong, as sentences.
        ended: whether the run is complete.
    """

    seed: int
    minutes: list[Minute] = field(default_factory=list)
    seconds: float = 0
    driver_cpu: float = 0
    recoveries: list[float] = field(default_factory=list)
    quiet_seconds: float = 0
    quiet_answers: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    seconds_by_caller: Mapping[str, list[float]] = field(default_factory=dict)
    answered: Mapping[str, int] = field(default_factory=dict)
    events: Mapping[tuple[str, str], int] = field(default_factory=dict)
    baseline: Sample | None = None
    final: Sample | None = None
    failures: list[str] = field(default_factory=list)
    ended: bool = False

    @property
    def samples(self) -> list[Sample]:
        """All of them, in order."""
        return [sample for minute in self.minutes for sample in minute.samples]

    @property
    def second_half(self) -> list[Sample]:
        """Those in which a leaking server still grows, and a healthy one has all it needs."""
        return self.samples[len(self.samples) // 2 :]


def growth(samples: Sequence[Sample]) -> float:
    """The growth of resident memory in MiB per hour: the median slope of three thirds.

    A leak grows in all of them. Memory kept after one large page, for reuse, makes one step.
    """
    third = len(samples) // 3
    return median(_slope(samples[n * third : (n + 1) * third]) for n in range(3))


def _slope(samples: Sequence[Sample]) -> float:
    if len(samples) < 2:
        return 0
    hours = [sample.at / 3600 for sample in samples]
    return linear_regression(hours, [sample.resident / MIB for sample in samples]).slope


def judge(record: Record) -> None:
    """Add failures that the samples show."""
    peak = max((sample.resident for sample in record.samples), default=0) / MIB
    if peak > MOST_RESIDENT_MIB:
        record.failures.append(f"memory reached {peak:.0f} MiB, over {MOST_RESIDENT_MIB}")
    half = record.second_half
    if not half or half[-1].at - half[0].at < LEAST_SECONDS_FOR_GROWTH:
        return
    if (grows := growth(half)) > MOST_GROWTH_MIB_PER_HOUR:
        record.failures.append(
            f"in the second half memory grew by {grows:.1f} MiB an hour, over "
            f"{MOST_GROWTH_MIB_PER_HOUR}"
        )


def text(record: Record) -> str:
    """The report."""
    samples = record.samples
    resident = [sample.resident / MIB for sample in samples] or [0.0]
    cpu = samples[-1].cpu - samples[0].cpu if samples else 0
    seconds = max(1, record.seconds)
    answers = sum(len(times) for times in record.seconds_by_caller.values())
    verdict = "FAILED" if record.failures else "passed" if record.ended else "not at its end yet"
    failures = "".join(f"  - {failure}\n" for failure in record.failures)
    return f"""Soak of {seconds:.0f} s, seed {record.seed}: {verdict}
{failures}
{answers} answers, {answers / seconds:.1f} a second. {len(record.recoveries)} recoveries: \
median {_median(record.recoveries):.1f} s, longest {max(record.recoveries, default=0):.1f} s.
In {record.quiet_seconds:.0f} s of quiet phases {
        record.quiet_answers
    } answers to HPAs had to be exactly right.
Memory: {resident[0]:.0f} MiB at first, median {median(resident):.0f}, peak {max(resident):.0f}, \
last {resident[-1]:.0f}; growth in the second half {growth(record.second_half):+.1f} MiB an hour.
CPU: server {cpu / seconds:.1%} of a core, driver {record.driver_cpu / seconds:.1%}.
{_change("Tasks", "tasks", record)}
{_change("Descriptors", "descriptors", record)}
{_change("Threads", "threads", record)}
{_change("Objects of the garbage collector", "objects", record)}

Answers by caller and status: {_counts(record.answered)}
Seconds by caller (p50/p99/longest): {
        ", ".join(f"{kind} {_spread(times)}" for kind, times in record.seconds_by_caller.items())
    }
Faults: {_counts(record.faults)}
Log: {_counts({f"{level} {event!r}": n for (level, event), n in record.events.items()})}

By minute: the most MiB, descriptors, tasks and threads; answers (200/5xx/other/none); of these \
wrong; p50/p99/longest ms; how late the driver was, in ms; lines of the log (info/warning/error)
{"".join(_row(number, minute) for number, minute in enumerate(record.minutes))}"""


def _row(number: int, minute: Minute) -> str:
    tally = minute.tally
    kinds = Counter[str]()
    for status, count in tally.statuses.items():
        kinds[{"2": "200", "5": "5xx", "n": "none"}.get(status[0], "other")] += count
    statuses = "/".join(str(kinds[name]) for name in ("200", "5xx", "other", "none"))
    levels = "/".join(str(minute.levels.get(name, 0)) for name in ("info", "warning", "error"))
    most = {
        name: max((getattr(sample, name) for sample in minute.samples), default=0)
        for name in ("resident", "descriptors", "tasks", "threads")
    }
    return (
        f"{number:4} {most['resident'] / MIB:5.0f} {most['descriptors']:4} {most['tasks']:4} "
        f"{most['threads']:3}  {len(tally.seconds):4} ({statuses})  {tally.wrong}  "
        f"{_spread(tally.seconds, 1000)}  {tally.lag * 1000:.0f}  {levels}\n"
    )


def _spread(seconds: Sequence[float], scale: float = 1) -> str:
    if len(seconds) < 2:
        return "-"
    figures = median(seconds), quantiles(seconds, n=100, method="inclusive")[-1], max(seconds)
    return "/".join(f"{figure * scale:.3g}" for figure in figures)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))


def _median(values: Sequence[float]) -> float:
    return median(values) if values else 0


def _change(title: str, name: str, record: Record) -> str:
    before, after = (getattr(sample, name, "?") for sample in (record.baseline, record.final))
    most = max((getattr(sample, name) for sample in record.samples), default=0)
    return f"{title}: {before} before the first fault, at most {most}, {after} after the last."
