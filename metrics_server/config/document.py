"""Reads any YAML document in bounded time and memory, or reports what is wrong with it.

Before the document is loaded, its events are examined one by one: how large it would be with every
alias expanded, how deeply it is nested, and whether a key is set twice (YAML uses the last).
"""

import os
from collections.abc import Iterable
from pathlib import Path

import yaml
from msgspec import Struct

from metrics_server.common.text import printable

# Far more than rules for every known metric would take.
_MAX_BYTES = 256 * 1024
_MAX_NODES = 20_000
_MAX_DEPTH = 32
_MAX_SCALAR = 4096


class _Loader(yaml.SafeLoader):
    """Loads the values "=" and "<<" as texts, as YAML 1.2 has them: Helm does not quote them."""


def _text(_: _Loader, node: yaml.ScalarNode) -> str:
    return str(node.value)


_Loader.add_constructor("tag:yaml.org,2002:value", _text)
_Loader.add_constructor("tag:yaml.org,2002:merge", _text)


class DocumentError(Exception):
    """A document is unusable; the message has a line for each problem."""


def read_document(path: Path) -> object:
    """Return the contents of a YAML file; None if it is empty.

    Raises:
        DocumentError: the file cannot be read, is not YAML, or exceeds a limit.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise DocumentError(f" cannot be read: {os.strerror(error.errno or 0)}") from error
    except ValueError as error:  # the path contains a zero byte
        raise DocumentError(f" cannot be read: {error}") from error
    return parse_document(data)


def parse_document(data: bytes) -> object:
    """Return the contents of a YAML document; None if it is empty.

    Raises:
        DocumentError: it is not YAML, or exceeds a limit.
    """
    if len(data) > _MAX_BYTES:
        raise DocumentError(f" is larger than {_MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(f" is not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        duplicates = _Walk().run(yaml.parse(text, _Loader))
        if duplicates:
            raise DocumentError(":\n  " + "\n  ".join(duplicates))
        return yaml.load(text, _Loader)  # noqa: S506 - it is a safe one
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise DocumentError(f" is not YAML{where}: {error.problem}") from error
    # What looks like a date or a number may not be one: that is a ValueError.
    except (yaml.YAMLError, ValueError) as error:
        raise DocumentError(f" is not YAML: {error}") from error


class _Frame(Struct):
    """A mapping or a list that has not ended yet.

    Attributes:
        path: its path in the document.
        anchor: its anchor, which aliases refer to.
        is_mapping: whether its children are alternately keys and values.
        size: how many nodes it has, with every alias expanded.
        keys: the lines of a mapping's keys.
        key: the last key; None if a key comes next.
    """

    path: str
    anchor: str | None
    is_mapping: bool
    size: int
    keys: dict[str, int]
    key: str | None = None

    def child(self) -> str:
        """Return the path of its next child."""
        name = self.key if self.is_mapping else str(len(self.keys))
        return f"{self.path}.{name}" if self.path else str(name)


class _Walk:
    """Checks the events of a document."""

    def __init__(self) -> None:
        self._frames: list[_Frame] = []
        self._sizes: dict[str, int] = {}
        self._duplicates: list[str] = []

    def run(self, events: Iterable[yaml.Event]) -> list[str]:
        """Return a message for each key that is set twice, with its path.

        Raises:
            DocumentError: the document is too large or too deep, or uses an unsupported feature.
        """
        for event in events:
            line = event.start_mark.line + 1 if event.start_mark else 0
            if isinstance(event, yaml.AliasEvent):
                self._take(self._size_of(event.anchor or "", line), None, line)
            elif isinstance(event, yaml.ScalarEvent):
                self._check_scalar(event, line)
                self._take(1, event.value, line)
                if event.anchor:
                    self._sizes[event.anchor] = 1
            elif isinstance(event, yaml.CollectionStartEvent):
                self._begin(event, line)
            elif isinstance(event, yaml.CollectionEndEvent):
                done = self._frames.pop()
                if done.anchor:
                    self._sizes[done.anchor] = done.size
                self._take(done.size, None, line)
        return self._duplicates

    def _begin(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if event.tag is not None:
            raise _tagged(event.tag, line)
        if len(self._frames) >= _MAX_DEPTH:
            raise DocumentError(f" is nested more than {_MAX_DEPTH} levels deep, on line {line}")
        parent = self._frames[-1] if self._frames else None
        if parent and parent.is_mapping and parent.key is None:
            raise DocumentError(f" has a key that is not text, on line {line}")
        if event.anchor:
            self._sizes.pop(event.anchor, None)
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        path = parent.child() if parent else ""
        self._frames.append(_Frame(path, event.anchor, is_mapping, 1, {}))

    def _take(self, size: int, text: str | None, line: int) -> None:
        """Count a node, which is a key if a key comes next."""
        if not self._frames:
            return
        parent = self._frames[-1]
        parent.size += size
        # Over everything still open, so that a bomb is detected before it is expanded.
        if sum(frame.size for frame in self._frames) > _MAX_NODES:
            raise DocumentError(f" has more than {_MAX_NODES} YAML nodes, at line {line}")
        if not parent.is_mapping:
            parent.keys[str(len(parent.keys))] = line
        elif parent.key is not None:
            parent.key = None
        elif text is None:
            raise DocumentError(f" has a key that is not text, on line {line}")
        else:
            parent.key = printable(text, 64)
            if text in parent.keys:
                self._duplicates.append(
                    f"{parent.child()}: set twice, on lines {parent.keys[text]} and {line}"
                )
            parent.keys[text] = line

    def _size_of(self, anchor: str, line: int) -> int:
        size = self._sizes.get(anchor)
        if size is None:
            raise DocumentError(f" has an alias to an anchor that is not complete, on line {line}")
        return size

    def _check_scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        if event.tag is not None:
            raise _tagged(event.tag, line)
        if len(event.value) > _MAX_SCALAR:
            raise DocumentError(
                f" has a text of more than {_MAX_SCALAR} characters, on line {line}"
            )


def _tagged(tag: str, line: int) -> DocumentError:
    return DocumentError(
        f" has a tag, {printable(tag, 64)}, on line {line}; tags are not supported"
    )
