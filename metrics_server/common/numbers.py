"""Numbers in text from elsewhere, in just the forms that the formats have.

Python's own `float` and `int` also accept underscores, blanks and the digits of all scripts.
"""

import re

NUMBER = (
    r"[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?"
    r"|[+-]?[iI][nN][fF](?:[iI][nN][iI][tT][yY])?"
    r"|[nN][aA][nN]"
)
"""What Go's ParseFloat accepts, except hexadecimal floats, which Prometheus does not accept either.

Matching takes linear time.
"""

_NUMBER = re.compile(NUMBER)
# All of them fit into 64 bits.
_MOST_DIGITS = 18


def parse_float(text: str) -> float:
    """Parse a number as Prometheus does.

    Raises:
        ValueError: it is not a number.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    return float(text)


def parse_digits(text: str) -> int | None:
    """Parse a whole number of at most 18 digits, without a sign; None if it is not one."""
    return int(text) if len(text) <= _MOST_DIGITS and is_digits(text) else None


def is_digits(text: str) -> bool:
    """Whether a text is nothing but the digits 0 to 9, at least one."""
    return text.isascii() and text.isdigit()
