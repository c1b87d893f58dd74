"""The tokens of an expression in PromQL, exactly as Prometheus reads them."""

import re

from msgspec import Struct

MOST_SHOWN = 60
"""How many characters of an expression a message shows."""

_STRING = r"""(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)"""
_DURATION = r"(?:[0-9]+(?:ms|[smhdwy]))+"
_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+|\#[^\r\n]*)"
    rf"|(?P<string>{_STRING})"
    r"|(?P<number>(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
    rf"|{_DURATION})(?![A-Za-z0-9_:.]))"
    r"|(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)"
    rf"|(?P<matchers>\{{(?:{_STRING}|[^\"'`{{}}\#])*\}})"
    r"|(?P<range>\[[^\[\]\"'`{}\#]*\])"
    r"|(?P<sign>==|!=|>=|<=|=~|!~|[-+*/%^<>(),@=])",
    re.DOTALL,
)
_RANGE = re.compile(
    rf"\[[ \t\r\n]*(?P<long>{_DURATION})[ \t\r\n]*"
    rf"(?P<step>:[ \t\r\n]*(?:{_DURATION})?)?[ \t\r\n]*\]"
)
_UNIT = re.compile(r"([0-9]+)(ms|[smhdwy])")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}


class Token(Struct, frozen=True):
    """A part of an expression.

    Attributes:
        kind: string, number, name, matchers, range, sign or end.
        text: the part as it is written.
    """

    kind: str
    text: str

    @property
    def word(self) -> str:
        """The token in lower case if it may be a keyword, an operator or a bracket; or ""."""
        return self.text.lower() if self.kind in {"name", "sign"} else ""


END = Token("end", "")
"""The token after the last one."""


def tokens(text: str) -> list[Token]:
    """Split an expression into its tokens, without blanks and comments.

    Raises:
        ValueError: a part of it is not a token.
    """
    found: list[Token] = []
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ValueError(f"{text[at : at + 20]!r} is not understood: write plain PromQL")
        at = token.end()
        if token.lastgroup != "space":
            found.append(Token(token.lastgroup or "", token[0]))
    return found


def duration_of(text: str) -> tuple[float, bool]:
    """Return how long a range is, in seconds, and whether it is that of a subquery.

    Raises:
        ValueError: it is not written as one.
    """
    found = _RANGE.fullmatch(text)
    parts = _UNIT.findall(found["long"]) if found is not None else ()
    seconds = sum(int(count) * _SECONDS[unit] for count, unit in parts)
    if found is None or not seconds:
        raise ValueError(f"{text[:MOST_SHOWN]} is not a range such as [5m]")
    return seconds, found["step"] is not None
