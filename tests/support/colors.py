"""The colors of a page, and whether text in them is readable."""

import re

from tests.support.browser import Browser

Color = tuple[int, int, int]


def color(page: Browser, css: str, of: str) -> Color:
    """A color of an element."""
    # In one step, as the page may replace the element at any moment.
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    text = str(page.run(script, css, of))
    red, green, blue = (int(part) for part in re.findall(r"\d+", text)[:3])
    return red, green, blue


def luminance(color: Color) -> float:
    """The relative luminance of a color, as WCAG defines it."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in color)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Color, other: Color) -> float:
    """The contrast of two colors, as WCAG defines it."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
