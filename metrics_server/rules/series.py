"""Which rows of a page count: what a question requires of their labels.

An HPA's selector has these requirements under keys with the prefix series/. A label that a row does
not have is the same as an empty one, as in Prometheus.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct

from metrics_server.common.text import printable
from metrics_server.common.weight import MAX_KEPT_CHARACTERS
from metrics_server.errors import AmbiguousSeriesError

PREFIX = "series/"

_EMPTY = ("",)
_MAX_FORM = 63
_OTHERS = re.compile(r"[^A-Za-z0-9._-]")
_PUNCTUATION = "._-"
_MAX_SHOWN = 100


class SeriesRequirement(Struct, frozen=True, order=True):
    """One condition on one label of a row.

    Attributes:
        label: the label's name, without the prefix.
        inside: whether the label's value must be one of the values, or must not.
        values: sorted; "" is that of an absent label. `exists` is "not in ('')".
    """

    label: str
    inside: bool
    values: tuple[str, ...]

    @property
    def needs_label(self) -> bool:
        """Whether only a row with the label can meet it."""
        return self.inside is not ("" in self.values)

    def __str__(self) -> str:
        key = f"{PREFIX}{self.label}"
        if self.values == _EMPTY:
            return f"!{key}" if self.inside else key
        if len(self.values) == 1:
            return f"{key}{'=' if self.inside else '!='}{self.values[0]}"
        return f"{key} {'in' if self.inside else 'notin'} ({','.join(self.values)})"


class SeriesSelector(Struct, frozen=True, cache_hash=True):
    """The requirements on the labels of a row; without any, every row counts.

    Attributes:
        requirements: all must be met; sorted, without duplicates.
    """

    requirements: tuple[SeriesRequirement, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is required."""
        return bool(self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


class SeriesMatcher:
    """Decides which rows match, for one answer.

    A value of a page matches its own selector form. If two values of the pages with the same form
    are compared, that is an error: their rows must not be mixed.

    Args:
        selector: what is required.
    """

    def __init__(self, selector: SeriesSelector) -> None:
        self.selector = selector
        self._requirements = [
            (one.label, frozenset(one.values), one.inside) for one in selector.requirements
        ]
        # By label and form, the value on the pages.
        self._meant: dict[tuple[str, str], str] = {}

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether a row with these labels counts.

        Raises:
            AmbiguousSeriesError: another row has another value of the same form.
        """
        matches = True
        for label, values, inside in self._requirements:
            value = labels.get(label, "")
            form = selector_form(value)
            is_among = form in values
            if is_among and self._meant.setdefault((label, form), value) != value:
                one, other = sorted((value, self._meant[label, form]))
                raise AmbiguousSeriesError(
                    f'{PREFIX}{label}: "{form}" could be "{printable(one, _MAX_SHOWN)}" or '
                    f'"{printable(other, _MAX_SHOWN)}", which are both on the pages of the '
                    "selected pods: select by another label, or rename one of them"
                )
            matches = matches and is_among is inside
        return matches


def selector_form(value: str) -> str:
    """Return a label's value on a page as a selector of Kubernetes can have it.

    Every character but letters, digits, ".", "_" and "-" becomes "_"; punctuation at the ends is
    removed; and the first 63 characters remain. A value without letters or digits has no such form:
    it is returned as it is, and equals no value of a selector.
    """
    return _known_form(value) if len(value) <= MAX_KEPT_CHARACTERS else _form(value)


def _form(value: str) -> str:
    return _OTHERS.sub("_", value).strip(_PUNCTUATION)[:_MAX_FORM].rstrip(_PUNCTUATION) or value


_known_form = lru_cache(maxsize=8192)(_form)
