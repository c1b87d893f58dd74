"""Whether the clock of kube-apiserver and the one here agree."""

import time
from email.utils import parsedate_to_datetime

from metrics_server.doctor.model import Check, Problem, Verdict, skipped
from metrics_server.doctor.reader import Reader

# The Date header has whole seconds, and the answer took some time.
_MOST_SECONDS = 10.0


async def _run(reader: Reader) -> Verdict:
    before = time.time()
    answer = await reader.api.fetch("/version")
    return judge(answer.date, before, time.time())


def judge(date: str, before: float, after: float) -> Verdict:
    """Judge the Date header of an answer.

    Args:
        date: the header; "" without one.
        before: when the request was sent, in seconds since the epoch.
        after: when the answer was there.
    """
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return skipped("the API server's answers have no Date header")
    skew = 0.0
    if theirs + 1 < before:
        skew = theirs + 1 - before
    elif theirs > after:
        skew = theirs - after
    summary = f"kube-apiserver's clock is within {_MOST_SECONDS:g} s of the one here"
    if abs(skew) <= _MOST_SECONDS:
        return Verdict(summary)
    direction = "ahead of" if skew > 0 else "behind"
    problem = Problem(
        "clock",
        "the clock of kube-apiserver",
        f"it is {abs(skew):.0f} s {direction} the clock here: one of them is wrong. With a wrong "
        "clock certificates and tokens are rejected, and samples look old",
        "timedatectl set-ntp true   # here, or on the control plane, whichever is wrong",
        "docs/troubleshooting.md#x509-errors",
    )
    return Verdict("the clocks differ", (problem,))


CHECK = Check(
    name="clock",
    about="Do the clocks of kube-apiserver and of this machine agree?",
    finds=("clock",),
    run=_run,
)
