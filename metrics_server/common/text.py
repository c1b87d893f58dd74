"""Text of unknown origin, made safe for messages and log lines."""

_MOST = 200


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


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()
