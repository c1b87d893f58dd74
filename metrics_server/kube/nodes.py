"""Nodes by address, for exporters whose EndpointSlices do not name their nodes."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Literal

import msgspec
from msgspec import Raw, Struct


class Node(Struct, frozen=True, gc=False):
    """A node.

    Attributes:
        name: metadata.name.
        addresses: its IP addresses, internal and external, each in its shortest form.
    """

    name: str
    addresses: tuple[str, ...]


class _Metadata(Struct):
    name: str


class _Address(Struct):
    address: str | None = None


class _Status(Struct):
    addresses: list[_Address] | None = None


class _Node(Struct):
    metadata: _Metadata
    status: _Status | None = None


_decode = msgspec.json.Decoder(_Node).decode


def decode_node(raw: Raw | bytes) -> Node:
    """Decode a Node from JSON.

    Raises:
        msgspec.DecodeError: it is not a Node.
    """
    node = _decode(raw)
    listed = (node.status and node.status.addresses) or ()
    # Kubernetes also lists a node's host names as addresses; an endpoint has none.
    found = (parse_address(one.address or "") for one in listed)
    return Node(node.metadata.name, tuple(sorted({one for one in found if one is not None})))


def parse_address(text: str) -> str | None:
    """Return an IP address in its shortest form; None for anything else, or one with a zone."""
    try:
        return None if "%" in text else str(ip_address(text))
    except ValueError:
        return None


class NodeStore:
    """The nodes of the cluster by address."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._by_address: Mapping[str, str] | None = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def by_address(self) -> Mapping[str, str]:
        """Return the name of the node at each address: the same object until an address changes.

        An address that two nodes claim is ambiguous, and left out.
        """
        if self._by_address is None:
            names: dict[str, str | None] = {}
            for node in self._nodes.values():
                for address in node.addresses:
                    names[address] = None if address in names else node.name
            self._by_address = {
                address: name for address, name in names.items() if name is not None
            }
        return self._by_address

    def replace(self, items: Iterable[Node]) -> None:
        """Replace all nodes."""
        self._nodes = {item.name: item for item in items}
        self._by_address = None

    def apply(self, kind: Literal["ADDED", "MODIFIED", "DELETED"], item: Node) -> None:
        """Apply one change. A kubelet reports every few minutes, mostly without any change."""
        if kind == "DELETED":
            if self._nodes.pop(item.name, None) is not None:
                self._by_address = None
        elif self._nodes.get(item.name) != item:
            self._nodes[item.name] = item
            self._by_address = None
