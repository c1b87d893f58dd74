"""Text from elsewhere, made fit to stand in a message or a line of the log."""

_MOST = 200


def printable(text: str, most: int = _MOST) -> str:
    """A text on one line, of so many characters at most.

    What is not printable is escaped: line feeds, the escape codes of terminals, and characters
    that turn the direction of what follows. What is cut off is marked by an ellipsis.

    Args:
        text: as somebody else wrote it.
        most: how long it may be, the ellipsis included.
    """
    # What lies beyond is not even looked at: a peer may send megabytes.
    shown = text[: most + 1]
    if not shown.isprintable():
        shown = "".join(map(_escaped, shown))
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()
