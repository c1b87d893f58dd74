"""A page and its labels: each label text is parsed once, however many families repeat it."""

from collections.abc import Iterator, Mapping, Sequence

from metrics_server.rules.dialect import Dialect
from metrics_server.rules.model import Reading
from metrics_server.rules.presets import DIALECTS
from metrics_server.sources.exporters.dialects import dialect_of, read, subject
from metrics_server.sources.exporters.inventory import (
    Inventory,
    Known,
    KnownRows,
    LabelOfGpus,
    Part,
    Place,
    label_of_gpus,
    named_parts,
    take_inventory,
)
from metrics_server.sources.pages.exposition import (
    Row,
    contains,
    label_texts,
    parse_labels,
    prefixed_rows,
    rows,
)
from metrics_server.sources.pages.text import Text

# There are few longer pages. Their labels are kept: parsing those of thousands of rows again would
# block the event loop. For all pages of a large cluster, labels would take 70 MB.
_LONG_BYTES = 256 * 1024

_NONE: KnownRows = {}
_Where = tuple[tuple[str, str], ...]


class Sheet:
    """A page, shared by all rules that are read from it.

    Args:
        page: the body of an exporter's response.
        dialects: the dialects of its labels, in order of preference.
        before: what the labels on an earlier page of the same exporter mean.

    Attributes:
        text: the page.
        keeps_labels: whether it keeps the labels of each row, because the page is long.
        known: the label texts read so far, interpreted; None for those that name no GPU.
    """

    __slots__ = (
        "_absent",
        "_absent_label",
        "_before",
        "_dialects",
        "_gpu_rows",
        "_inventory",
        "_labels",
        "_likely",
        "_names",
        "_parts",
        "_possible",
        "_prefixes",
        "keeps_labels",
        "known",
        "text",
    )

    def __init__(
        self,
        page: bytes,
        dialects: Sequence[Dialect] = DIALECTS,
        before: KnownRows = _NONE,
    ) -> None:
        self.text = Text(page)
        self.keeps_labels = len(page) > _LONG_BYTES
        self.known: dict[str, Known | None] = {}
        self._dialects = dialects
        self._before = _NONE if self.keeps_labels else before
        self._names: dict[str, str | None] = {}
        self._prefixes: dict[str, frozenset[str]] = {}
        self._possible: dict[str, bool] = {}
        self._absent: set[str] = set()
        self._likely: Sequence[str] = tuple(before)
        self._gpu_rows: list[Known] | None = None
        self._inventory: Inventory | None = None
        self._labels: dict[str, LabelOfGpus] = {}
        self._absent_label: tuple[str, LabelOfGpus] | None = None
        self._parts: dict[tuple[_Where, tuple[str, ...]], Mapping[Place, frozenset[Part]]] = {}

    def read(self, text: str) -> Known | None:
        """Return what the row with these labels measures; None if they do not say."""
        known = self._before[text] if text in self._before else self._interpreted(text)
        self.known[text] = known
        return known

    def rows(self, family: str) -> list[Row]:
        """Return the rows of a family, whatever prefix its name has on this page."""
        if family in self._absent:
            return []
        if family not in self._names:
            self._names[family] = self._find_name(family)
        name = self._names[family]
        found = [] if name is None else rows(self.text.read(), name, self._likely)
        if not found:
            self._absent.add(family)
        else:
            self._likely = [row.labels for row in found]
        return found

    def dialects(self) -> Iterator[Dialect]:
        """Return the dialect of each distinct label text that was read so far."""
        # A copy, because a thread may add rows meanwhile.
        return (one.dialect for one in tuple(self.known.values()) if one is not None)

    @property
    def inventory(self) -> Inventory:
        """The GPUs on the page; computed when first needed."""
        if self._inventory is None:
            self._inventory = take_inventory([one.subject for one in self.gpu_rows()])
        return self._inventory

    def parts(self, reading: Reading) -> Mapping[Place, frozenset[Part]]:
        """Return the parts of each place that the page names, as the reading distinguishes them."""
        key = (reading.where, reading.each)
        known = self._parts.get(key)
        if known is None:
            known = self._parts[key] = named_parts(self.gpu_rows(), reading)
        return known

    def label(self, name: str) -> LabelOfGpus:
        """Return a label of each GPU.

        All labels that the page has are remembered, and the last other one: callers ask for each of
        many pods, and may name any number of labels.
        """
        if self._absent_label is not None and self._absent_label[0] == name:
            return self._absent_label[1]
        label = self._labels.get(name)
        if label is None:
            label = label_of_gpus(self.gpu_rows(), name)
            if label.is_known:
                self._labels[name] = label
            else:
                self._absent_label = name, label
        return label

    def gpu_rows(self) -> list[Known]:
        """Return all GPU rows of the page, interpreted; computed when first needed."""
        if self._gpu_rows is None:
            found = (
                self.known[text] if text in self.known else self.read(text)
                for text in label_texts(self.text.read())
            )
            self._gpu_rows = [one for one in found if one is not None]
        return self._gpu_rows

    def _interpreted(self, text: str) -> Known | None:
        labels = parse_labels(text)
        dialect = dialect_of(labels, self._dialects)
        measured = None if dialect is None else read(labels, dialect)
        if dialect is None or measured is None:
            return None
        return Known(measured, text, dialect, labels if self.keeps_labels else None)

    def _find_name(self, family: str) -> str | None:
        """Return the name of a family on this page; None if it cannot be determined."""
        for dialect in self._dialects:
            if not dialect.stems or not family.startswith(dialect.stems):
                continue
            if not self._may_have(dialect):
                # No other built-in exporter has these names.
                if family in dialect.markers and self._dialects is DIALECTS:
                    return None
                continue
            # The page may have none of the markers: then the family itself serves as one.
            prefixes = self._prefixes_of(dialect) or _prefixes(self.text.read(), family, dialect)
            if len(prefixes) > 1:
                return None
            for prefix in prefixes:
                return prefix + family
        return family

    def _may_have(self, dialect: Dialect) -> bool:
        """Return whether the page can have rows of the dialect, which few pages can."""
        if dialect.name not in self._possible:
            self._possible[dialect.name] = contains(self.text.read(), dialect.marks[-1])
        return self._possible[dialect.name]

    def _prefixes_of(self, dialect: Dialect) -> frozenset[str]:
        """Return the prefixes of the dialect's families, by the first marker with GPU rows."""
        if dialect.name not in self._prefixes:
            found = (_prefixes(self.text.read(), marker, dialect) for marker in dialect.markers)
            self._prefixes[dialect.name] = next(filter(None, found), frozenset())
        return self._prefixes[dialect.name]


def _prefixes(page: bytes, ending: str, dialect: Dialect) -> frozenset[str]:
    """Return the prefixes of a family of the dialect on this page.

    If the family appears without a prefix, that is the answer. Of two prefixes, one belongs to
    something else.
    """
    found = frozenset(
        prefix
        for prefix, row in prefixed_rows(page, ending)
        if subject(parse_labels(row.labels), (dialect,)) is not None
    )
    return frozenset({""}) if "" in found else found
