"""One error that several checks report, printed in full once and referred to elsewhere (pure)."""

import re
from collections.abc import Iterator, Sequence

from msgspec import structs

from metrics_server.doctor.model import Outcome, Problem


def referring(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Return outcomes in which the text of one problem is a reference to it in all others.

    The causes come first: they have a fix, and are printed at the top.

    Args:
        outcomes: the outcomes, traced to their causes.
    """
    texts = list(_texts(outcomes))

    def shortened(text: str, reporter: Problem | None = None) -> str:
        for name, problem, pattern in texts:
            # What comes later in this order refers to what comes earlier, never the reverse.
            if problem is reporter:
                break
            text = pattern.sub(f"see {name}", text)
        return text

    return [
        structs.replace(
            one,
            problems=tuple(
                structs.replace(each, message=shortened(each.message, each))
                for each in one.problems
            ),
            notes=tuple(map(shortened, one.notes)),
        )
        for one in outcomes
    ]


def _texts(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, Problem, re.Pattern[str]]]:
    """Yield problems: the name under which each is printed, and how others quote it."""
    every = [(one.check, problem) for one in outcomes for problem in one.problems]
    # A message that quotes another is longer than that.
    every.sort(key=lambda one: (bool(one[1].follows), len(one[1].message)))
    for check, problem in every:
        name = check if problem.follows else problem.name
        yield name, problem, _quoting((problem.message, *problem.quoted))


def _quoting(texts: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern for any of these texts, and for a list of them as `listed` makes it.

    The list may have been cut off, which leaves an ellipsis.
    """
    longest_first = sorted(filter(None, texts), key=len, reverse=True)
    one = f"(?:{'|'.join(map(re.escape, longest_first))})"
    return re.compile(rf"{one}(?:; {one})*(?: and [0-9]+ more|; [^;…]*…)?")
