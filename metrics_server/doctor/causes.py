"""Which problems follow from which others, so that one cause is not reported as several (pure)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from msgspec import structs

from metrics_server.doctor.model import Check, Outcome, Problem

Ref = tuple[str, str]
"""A problem that can be found: the name of its check, and its own."""

Follows = Mapping[Ref, AbstractSet[Ref]]
"""The problems that can cause a problem."""


def of(check: Check, *names: str) -> frozenset[Ref]:
    """Return problems of a check: the named ones, or all that it can find."""
    return frozenset((check.name, name) for name in names or check.finds)


def table(rows: Iterable[tuple[AbstractSet[Ref], AbstractSet[Ref]]]) -> Follows:
    """Return a table from rows of effects, each with what can cause any of them."""
    found: dict[Ref, set[Ref]] = defaultdict(set)
    for effects, causes in rows:
        for effect in effects:
            found[effect] |= causes
    return {effect: frozenset(causes) for effect, causes in found.items()}


def traced(outcomes: Sequence[Outcome], follows: Follows) -> Sequence[Outcome]:
    """Return outcomes whose problems name the ones that they follow from.

    Args:
        outcomes: the outcomes, in the order in which they are reported.
        follows: which problems can cause which; without a cycle.
    """
    found = [((one.check, problem.name), problem) for one in outcomes for problem in one.problems]
    causes = [
        [] if effect.alone else _causes(effect, follows.get(ref, frozenset()), found)
        for ref, effect in found
    ]

    def roots(number: int) -> set[int]:
        direct = causes[number]
        return {number} if not direct else set().union(*map(roots, direct))

    named = (
        tuple(dict.fromkeys(found[root][1].name for root in sorted(roots(number))))
        if causes[number]
        else ()
        for number in range(len(found))
    )
    return [
        structs.replace(
            one,
            problems=tuple([structs.replace(p, follows=next(named)) for p in one.problems]),
        )
        for one in outcomes
    ]


def _causes(
    effect: Problem, refs: AbstractSet[Ref], found: Sequence[tuple[Ref, Problem]]
) -> list[int]:
    """Return the numbers of the problems that together explain all of another."""
    candidates = [
        number
        for number, (ref, cause) in enumerate(found)
        if ref in refs and (not cause.objects or not set(cause.objects).isdisjoint(effect.objects))
    ]
    everywhere = any(not found[number][1].objects for number in candidates)
    explained = {name for number in candidates for name in found[number][1].objects}
    if everywhere or any(kind <= explained for kind in _by_kind(effect.objects)):
        return candidates
    return []


def _by_kind(objects: Iterable[str]) -> Sequence[AbstractSet[str]]:
    """Return objects, those of each kind together."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in objects:
        found[one.partition("/")[0]].add(one)
    return list(found.values())


def first_causes(outcomes: Sequence[Outcome]) -> Sequence[Problem]:
    """Return the problems that do not follow from others: those to begin with."""
    return [problem for one in outcomes for problem in one.problems if not problem.follows]
