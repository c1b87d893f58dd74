"""A page with its labels: each text of them is read once, however many families repeat it."""

from collections.abc import Iterator, Mapping, Sequence

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.model import Reading
from metrics_server.rules.presets import DIALECTS
from metrics_server.sources.exporters.dialects import dialect_of, read, subject
from metrics_server.sources.exporters.inventory import (
    Inventory,
    Known,
    Part,
    Place,
    named_parts,
    take_inventory,
)
from metrics_server.sources.pages.exposition import (
    Row,
    label_texts,
    parse_labels,
    prefixed_rows,
    rows,
)

_Where = tuple[tuple[str, str], ...]


class Sheet:
    """A page, for all the rules that are read from it.

    Args:
        page: the body of an exporter's answer.
        dialects: how the labels of its rows are read, in order of preference.

    Attributes:
        page: as above.
        known: what the texts of labels say that were read so far; None where they name no GPU.
    """

    __slots__ = (
        "_absent",
        "_dialects",
        "_inventory",
        "_names",
        "_parts",
        "_prefixes",
        "_spoken",
        "known",
        "page",
    )

    def __init__(self, page: bytes, dialects: Sequence[Dialect] = DIALECTS) -> None:
        self.page = page
        self.known: dict[str, Known | None] = {}
        self._dialects = dialects
        self._names: dict[str, str | None] = {}
        self._prefixes: dict[str, frozenset[str]] = {}
        self._spoken: dict[str, bool] = {}
        self._absent: set[str] = set()
        self._inventory: Inventory | None = None
        self._parts: dict[tuple[_Where, tuple[str, ...]], Mapping[Place, frozenset[Part]]] = {}

    def read(self, text: str) -> Known | None:
        """What the row with these labels measures; None if they do not tell."""
        labels = parse_labels(text)
        dialect = dialect_of(labels, self._dialects)
        measured = None if dialect is None else read(labels, dialect)
        known = None if dialect is None or measured is None else Known(measured, labels, dialect)
        self.known[text] = known
        return known

    def rows(self, family: str) -> list[Row]:
        """The rows of a family, whatever prefix its name has on this page."""
        if family in self._absent:
            return []
        if family not in self._names:
            self._names[family] = self._find_name(family)
        name = self._names[family]
        found = [] if name is None else rows(self.page, name)
        if not found:
            self._absent.add(family)
        return found

    def dialects(self) -> Iterator[Dialect]:
        """How the rows are labelled that were read so far: of each distinct text of labels."""
        return (one.dialect for one in self.known.values() if one is not None)

    @property
    def inventory(self) -> Inventory:
        """What there is on the page; taken when it is first needed."""
        if self._inventory is None:
            self._inventory = take_inventory([one.subject for one in self._all()])
        return self._inventory

    def parts(self, reading: Reading) -> Mapping[Place, frozenset[Part]]:
        """A place to all parts of it, as the reading tells them apart, that the page names."""
        key = (reading.where, reading.each)
        known = self._parts.get(key)
        if known is None:
            known = self._parts[key] = named_parts(self._all(), reading)
        return known

    def _all(self) -> list[Known]:
        """What all rows of GPUs on the page say."""
        found = (
            self.known[text] if text in self.known else self.read(text)
            for text in label_texts(self.page)
        )
        return [one for one in found if one is not None]

    def _find_name(self, family: str) -> str | None:
        """The name of a family on this page; None where it cannot be known."""
        for dialect in self._dialects:
            if not dialect.stems or not family.startswith(dialect.stems):
                continue
            if not self._may_speak(dialect):
                # None of the other exporters that are built in has these names.
                if family in dialect.markers and self._dialects is DIALECTS:
                    return None
                continue
            # None of the markers need be on the page: the family itself is one then.
            prefixes = self._prefixes_of(dialect) or _prefixes(self.page, family, dialect)
            if len(prefixes) > 1:
                return None
            for prefix in prefixes:
                return prefix + family
        return family

    def _may_speak(self, dialect: Dialect) -> bool:
        """Whether rows of the dialect can be on the page, as on few pages they can."""
        if dialect.name not in self._spoken:
            self._spoken[dialect.name] = dialect.marks[-1].encode() in self.page
        return self._spoken[dialect.name]

    def _prefixes_of(self, dialect: Dialect) -> frozenset[str]:
        """What stands before the dialect's families, by the first marker with rows of a GPU."""
        if dialect.name not in self._prefixes:
            found = (_prefixes(self.page, marker, dialect) for marker in dialect.markers)
            self._prefixes[dialect.name] = next(filter(None, found), frozenset())
        return self._prefixes[dialect.name]


def _prefixes(page: bytes, ending: str, dialect: Dialect) -> frozenset[str]:
    """What stands before a family of the dialect on this page.

    No prefix at all goes before any; of two, one is something else's.
    """
    found = frozenset(
        prefix
        for prefix, row in prefixed_rows(page, ending)
        if subject(parse_labels(row.labels), (dialect,)) is not None
    )
    return frozenset({""}) if "" in found else found
