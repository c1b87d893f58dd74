"""What was seen, minute by minute, and what speaks against it."""

from collections import Counter
from statistics import median, quantiles

from msgspec import Struct, field

from tests.soak.callers import Tally
from tests.soak.sampling import Sample

MIB = 1024 * 1024
# Of the second half of a run.
MOST_SLOPE_MIB_PER_HOUR = 16.0
# Over less than this a slope says nothing.
LEAST_SECONDS_FOR_SLOPE = 600
MOST_RESIDENT_MIB = 400
# Connections that are kept open come and go; what leaks grows by the hundred faults.
MORE_TASKS, MORE_DESCRIPTORS = 10, 20


class Minute(Struct):
    """A minute of the run."""

    samples: list[Sample]
    tally: Tally
    levels: dict[str, int]
    wrong: int


class Record(Struct):
    """What the run has shown.

    Attributes:
        recoveries: how many seconds each recovery took.
        quiet_seconds: how long every answer had to be exactly right.
        baseline: before the first fault.
        final: after the last.
        failures: what speaks against the server, as sentences.
    """

    seed: int
    minutes: list[Minute] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    quiet_seconds: float = 0
    quiet_answers: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, list[float]] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    events: dict[tuple[str, str], int] = field(default_factory=dict)
    baseline: Sample | None = None
    final: Sample | None = None
    driver_cpu: float = 0
    seconds: float = 0
    failures: list[str] = field(default_factory=list)
    ended: bool = False

    @property
    def samples(self) -> list[Sample]:
        """All of them, in order."""
        return [sample for minute in self.minutes for sample in minute.samples]


def slope(samples: list[Sample]) -> float:
    """How much resident memory grows, in MiB an hour, by least squares."""
    if len(samples) < 2:
        return 0
    at = [sample.at for sample in samples]
    memory = [sample.resident / MIB for sample in samples]
    middle, mean = sum(at) / len(at), sum(memory) / len(memory)
    spread = sum((x - middle) ** 2 for x in at)
    both = sum((x - middle) * (y - mean) for x, y in zip(at, memory, strict=True))
    return both / spread * 3600 if spread else 0


def judge(record: Record) -> None:
    """Add what the figures say to the failures."""
    samples = record.samples
    peak = max((sample.resident for sample in samples), default=0) / MIB
    if peak > MOST_RESIDENT_MIB:
        record.failures.append(f"memory reached {peak:.0f} MiB, over {MOST_RESIDENT_MIB}")
    half = samples[len(samples) // 2 :]
    grows = slope(half)
    long = bool(half) and half[-1].at - half[0].at >= LEAST_SECONDS_FOR_SLOPE
    if long and grows > MOST_SLOPE_MIB_PER_HOUR:
        record.failures.append(
            f"memory grew by {grows:.1f} MiB an hour in the second half, more than "
            f"{MOST_SLOPE_MIB_PER_HOUR:.0f}"
        )


def text(record: Record) -> str:
    """The report."""
    samples = record.samples
    half = samples[len(samples) // 2 :]
    resident = [sample.resident / MIB for sample in samples] or [0]
    cores = (samples[-1].cpu - samples[0].cpu) / max(1, samples[-1].at - samples[0].at)
    cores_driver = record.driver_cpu / max(1, record.seconds)
    questions = sum(record.answered.values())
    lines = [
        f"Soak of {record.seconds:.0f} s, seed {record.seed}: "
        + ("FAILED" if record.failures else "passed" if record.ended else "not at its end yet"),
        *(f"  - {failure}" for failure in record.failures),
        "",
        f"{questions} answers, {questions / max(1, record.seconds):.1f} a second; "
        f"{len(record.recoveries)} cycles of faults; {record.quiet_answers} HPA answers in "
        f"{record.quiet_seconds:.0f} s of quiet phases were exactly right.",
        f"Recovery after the last fault of a cycle: median {_median(record.recoveries):.1f} s, "
        f"longest {max(record.recoveries, default=0):.1f} s.",
        f"Memory: {resident[0]:.0f} MiB at first, median {median(resident):.0f}, "
        f"peak {max(resident):.0f}, last {resident[-1]:.0f}; "
        f"slope of the second half {slope(half):+.1f} MiB an hour.",
        f"CPU: server {cores:.0%} of a core, driver {cores_driver:.0%}.",
        _change("Tasks", "tasks", record),
        _change("Descriptors", "descriptors", record),
        _change("Threads", "threads", record),
        _change("Objects of the garbage collector", "objects", record),
        "",
        "Answers by caller and status: "
        + ", ".join(f"{kind} × {count}" for kind, count in sorted(record.answered.items())),
        "Seconds by caller (p50 / p99 / longest): "
        + "; ".join(f"{kind} {_seconds(times)}" for kind, times in sorted(record.kinds.items())),
        "",
        "Faults: " + ", ".join(f"{name} × {n}" for name, n in sorted(record.faults.items())),
        "",
        "Log: "
        + ", ".join(
            f"{level} {event!r} × {count}"
            for (level, event), count in sorted(record.events.items())
        ),
        "",
        "minute  MiB  fds tasks thr  answers (200/5xx/other/none)  wrong  p50/p99/max ms  "
        "driver lag ms  log info/warning/error",
        *(_row(number, minute) for number, minute in enumerate(record.minutes)),
    ]
    return "\n".join(lines) + "\n"


def _row(number: int, minute: Minute) -> str:
    def most(name: str) -> int:
        return max((getattr(sample, name) for sample in minute.samples), default=0)

    tally, groups = minute.tally, Counter[str]()
    for status, count in tally.statuses.items():
        known = {"2": "200", "5": "5xx"}.get(status[0], "other")
        groups["none" if status == "none" else known] += count
    statuses = "/".join(str(groups[name]) for name in ("200", "5xx", "other", "none"))
    levels = "/".join(str(minute.levels.get(name, 0)) for name in ("info", "warning", "error"))
    return (
        f"{number:6} {most('resident') / MIB:4.0f} {most('descriptors'):4} {most('tasks'):5} "
        f"{most('threads'):3}  {len(tally.seconds):7} ({statuses})  {minute.wrong:5}  "
        f"{_seconds(tally.seconds, 1000)}  {tally.lag * 1000:.0f}  {levels}"
    )


def _seconds(seconds: list[float], scale: float = 1) -> str:
    if len(seconds) < 2:
        return "/".join(f"{one * scale:.3g}" for one in seconds) or "none"
    p99 = quantiles(seconds, n=100)[-1]
    return "/".join(f"{x * scale:.3g}" for x in (median(seconds), p99, max(seconds)))


def _median(values: list[float]) -> float:
    return median(values) if values else 0


def _change(title: str, name: str, record: Record) -> str:
    before = getattr(record.baseline, name, 0)
    after = getattr(record.final, name, 0)
    most = max((getattr(sample, name) for sample in record.samples), default=0)
    return f"{title}: {before} before the first fault, at most {most}, {after} at the end."
