"""Selectors in queries."""

from urllib.parse import parse_qs


def selector_of(query: str) -> str:
    """The label selector of a query."""
    return parse_qs(query).get("labelSelector", [""])[0]
