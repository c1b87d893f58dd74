"""Text of unknown origin, made safe for messages and log lines."""

from collections.abc import Sequence

_MOST = 200
# How many names a sentence lists before it counts the rest.
_LISTED = 3


def printable(text: str, most: int = _MOST) -> str:
    """A text on one line, truncated.

    Unprintable characters are escaped: line feeds, terminal escape codes, and characters that
    change the writing direction. An ellipsis marks what is cut off.

    Args:
        text: what somebody else wrote.
        most: the most characters, including the ellipsis.
    """
    # The rest is not even examined: a peer may send megabytes.
    shown = text[: most + 1]
    if not shown.isprintable():
        shown = "".join(map(_escaped, shown))
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _LISTED
    return separator.join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def named(noun: str, names: Sequence[str]) -> str:
    """The first few names, after what they are the names of: "pod a", or "pods a, b"."""
    return f"{noun if len(names) == 1 else f'{noun}s'} {listed(names)}"


def each_of(noun: str, names: Sequence[str]) -> str:
    """The same as the subject of a verb in the singular: "pod a", or "each of pods a, b"."""
    return named(noun, names) if len(names) == 1 else f"each of {named(noun, names)}"


def noun_is(noun: str, number: int) -> str:
    """A noun and its verb, before a list of this length: "name is", or "names are"."""
    return f"{noun} is" if number == 1 else f"{noun}s are"


def counted(number: int, noun: str) -> str:
    """A number with its noun, which takes an s in the plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()
