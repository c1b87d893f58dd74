"""Which series an expression in PromQL reads, exactly as Prometheus would read it.

An expression is accepted only if each of its selectors is found, so that the age of all samples
behind its value can be checked. What could be read in two ways is rejected: metric names without
braces, which newer servers may take for keywords, and whatever is not plain PromQL.
"""

from msgspec import Struct

from metrics_server.rules.tokens import END, MOST_SHOWN, Token, duration_of, tokens

MAX_SELECTORS = 10
"""How many selectors an expression may have: more than anyone would write."""

# How far Prometheus looks back for a sample at each step of a subquery.
_LOOKBACK_SECONDS = 300

_AGGREGATIONS = frozenset(
    [
        *("sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "topk", "bottomk"),
        *("count_values", "quantile", "limitk", "limit_ratio"),
    ]
)
_GROUPINGS = ("by", "without")
_MATCHINGS = ("on", "ignoring")
_JOINS = ("group_left", "group_right")
_OPERATORS = frozenset(
    ["+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=", "and", "or", "unless", "atan2"]
)
_SIGNS_OF_NUMBERS = ("+", "-")
_NUMBERS = ("inf", "nan")
# They return the last samples of a range, however old these are, as if they were current.
_OF_LAST_SAMPLES = frozenset(["last_over_time", "irate", "idelta"])
# These, and all that begin with label_, can put a value under another pod's name.
_RENAMING = frozenset(["scalar", "count_values"])


class Selector(Struct, frozen=True):
    """A selector of series.

    Attributes:
        text: the name, if any, and the matchers.
        reach: how many seconds of the past the expression reads, by ranges and subqueries; 0 if it
            reads only the present sample.
    """

    text: str
    reach: float = 0


class Expression(Struct, frozen=True):
    """What an expression reads.

    Attributes:
        selectors: each once, in its order.
        reads_last: whether a function returns the last samples of a range, of whatever age.
        aggregations: how many aggregations it has.
        groupings: by, without, on and ignoring, each with its labels.
        functions: the names of its functions and aggregations, in lower case.
    """

    selectors: tuple[Selector, ...]
    reads_last: bool = False
    aggregations: int = 0
    groupings: tuple[tuple[str, frozenset[str]], ...] = ()
    functions: frozenset[str] = frozenset()

    @property
    def has_quantiles(self) -> bool:
        """Whether a function computes quantiles, anywhere in it: its values may be some."""
        return any("quantile" in name for name in self.functions)

    def keeps_apart(self, label: str) -> bool:
        """Return whether a value depends only on samples with the same value of a label."""
        if self.aggregations != sum(kind in _GROUPINGS for kind, _ in self.groupings):
            return False
        if any(name in _RENAMING or name.startswith("label_") for name in self.functions):
            return False
        return all((label in labels) == (kind in {"by", "on"}) for kind, labels in self.groupings)


def read(text: str) -> Expression:
    """Find the selectors of an expression.

    An expression that Prometheus would reject may be accepted.

    Raises:
        ValueError: it has none or too many, or they cannot be found for certain, or it reads
            samples of another time than the present.
    """
    return _Reader(text).expression()


class _Reader:
    """Reads an expression from left to right.

    Where an operand must come, a word is the name of a function or of a metric, even if it is a
    keyword elsewhere; where an operator must come, it is a keyword.
    """

    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self._at = 0
        self._depth = 0
        self._found: list[Selector] = []
        self._subqueries = 0.0
        self._aggregations = 0
        self._groupings: list[tuple[str, frozenset[str]]] = []
        self._functions: set[str] = set()

    def expression(self) -> Expression:
        """Read all of it."""
        self._operand()
        while self._next.kind != "end":
            self._after_operand()
        if self._depth:
            raise ValueError(") is missing at the end")
        if not self._found:
            raise ValueError("reads no series: its value would not be a measurement")
        lookback = self._subqueries + _LOOKBACK_SECONDS if self._subqueries else 0
        every = (Selector(one.text, one.reach + lookback) for one in self._found)
        selectors = tuple(dict.fromkeys(every))
        if len(selectors) > MAX_SELECTORS:
            raise ValueError(
                f"reads {len(selectors)} different selectors, more than the {MAX_SELECTORS} whose "
                "age is checked: split it, or use a recording rule"
            )
        return Expression(
            selectors,
            not self._functions.isdisjoint(_OF_LAST_SAMPLES),
            self._aggregations,
            tuple(self._groupings),
            frozenset(self._functions),
        )

    @property
    def _next(self) -> Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else END

    def _take(self) -> Token:
        token = self._next
        self._at += 1
        return token

    def _operand(self) -> None:
        """Read up to the end of a number, a string, a selector, or `(`…`)` without anything in."""
        while True:
            token = self._take()
            if token.kind in {"number", "string"}:
                return
            if token.kind == "matchers":
                self._selector(token.text)
                return
            if token.kind == "name":
                if self._name(token):
                    return
            elif token.text == "(":
                self._depth += 1
            elif token.text not in _SIGNS_OF_NUMBERS:
                raise _unexpected(token)

    def _name(self, token: Token) -> bool:
        """Read a name, and return whether the operand ends with it."""
        if self._next.kind == "matchers":
            self._selector(token.text + self._take().text)
            return True
        if self._next.kind == "range":
            self._selector(token.text)
            return True
        if self._next.text == "(" or (
            token.word in _AGGREGATIONS and self._next.word in _GROUPINGS
        ):
            return self._call(token.word)
        if token.word in _NUMBERS:
            return True
        shown = token.text[:MOST_SHOWN]
        raise ValueError(
            f"{shown} has no braces: if it is a metric, write {shown}{{}} or, better, select its "
            f"series, such as {shown}{{namespace=<<.Namespace>>}}, so that their age is checked"
        )

    def _call(self, name: str) -> bool:
        """Read a function's name up to its first argument; return whether it has none."""
        self._functions.add(name)
        if name in _AGGREGATIONS:
            self._aggregations += 1
        if self._next.word in _GROUPINGS:
            self._labels(self._take().word)
        if self._next.text != "(":
            raise _unexpected(self._next)
        self._take()
        if self._next.text == ")":
            self._take()
            return True
        self._depth += 1
        return False

    def _after_operand(self) -> None:
        """Read what comes after an operand, and the next operand if there must be one."""
        token = self._take()
        if token.text == ")":
            if not self._depth:
                raise ValueError(") has no opening bracket")
            self._depth -= 1
        elif token.kind == "range":
            long, is_subquery = duration_of(token.text)
            if not is_subquery:
                raise ValueError(f"{token.text} must come directly after a selector")
            self._subqueries += long
        elif token.word in _GROUPINGS:
            self._labels(token.word)
        elif token.text == "," and self._depth:
            self._operand()
        elif token.word in _OPERATORS:
            self._modifiers()
            self._operand()
        elif token.word in {"offset", "@"}:
            raise ValueError(
                f"{token.word} reads samples of another time, and only current ones count: remove "
                "it, and use delta or increase to compare with the past"
            )
        else:
            raise _unexpected(token)

    def _modifiers(self) -> None:
        """Read how a binary operator matches series."""
        if self._next.word == "bool":
            self._take()
        if self._next.word in _MATCHINGS:
            self._labels(self._take().word)
            if self._next.word in _JOINS:
                self._take()
                if self._next.text == "(":
                    self._labels()

    def _labels(self, kind: str = "") -> None:
        """Read a list of labels in brackets."""
        labels: set[str] = set()
        if (token := self._take()).text != "(":
            raise _unexpected(token)
        while (token := self._take()).text != ")":
            if token.kind == "name":
                labels.add(token.text)
            elif token.kind == "string":
                labels.add(token.text[1:-1])
            elif token.text != ",":
                raise _unexpected(token)
        if kind:
            self._groupings.append((kind, frozenset(labels)))

    def _selector(self, text: str) -> None:
        long = 0.0
        if self._next.kind == "range":
            long, is_subquery = duration_of(self._take().text)
            if is_subquery:
                self._subqueries += long
                long = 0.0
        self._found.append(Selector(text, long))


def _unexpected(token: Token) -> ValueError:
    if token is END:
        return ValueError("ends where more must follow")
    return ValueError(f"{token.text[:MOST_SHOWN]!r} is not expected here")
