"""Validation of labels' keys and values, with the messages of k8s.io/apimachinery."""

import re
from collections.abc import Iterable

_MAX_NAME_LENGTH = 63
_MAX_PREFIX_LENGTH = 253
_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

_CHARACTERS = (
    "consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_NAME_SYNTAX = (
    f"must {_CHARACTERS} (e.g. 'MyName',  or 'my.name',  or '123-abc', "
    f"regex used for validation is '{_NAME.pattern}')"
)
_OPTIONAL_PREFIX = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
_VALUE_SYNTAX = (
    f"a valid label must be an empty string or {_CHARACTERS} "
    "(e.g. 'MyValue',  or 'my_value',  or '12345', "
    f"regex used for validation is '{_VALUE.pattern}')"
)
_SUBDOMAIN_SYNTAX = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', "
    f"regex used for validation is '{_SUBDOMAIN.pattern}')"
)


def key_problems(key: str) -> list[str]:
    """Return what is wrong with a label's key, as validation.IsQualifiedName words it."""
    *prefixes, name = key.split("/")
    if len(prefixes) > 1:
        return [f"a qualified name {_NAME_SYNTAX} {_OPTIONAL_PREFIX}"]
    problems = []
    for prefix in prefixes:
        found = list(_syntax_problems(prefix, _MAX_PREFIX_LENGTH, _SUBDOMAIN, _SUBDOMAIN_SYNTAX))
        problems += [f"prefix part {p}" for p in (found if prefix else ["must be non-empty"])]
    if not name:
        problems.append("name part must be non-empty")
    found = list(_syntax_problems(name, _MAX_NAME_LENGTH, _NAME, _NAME_SYNTAX))
    return problems + [f"name part {p}" for p in found]


def value_problems(value: str) -> list[str]:
    """Return what is wrong with a label's value, as validation.IsValidLabelValue words it."""
    return list(_syntax_problems(value, _MAX_NAME_LENGTH, _VALUE, _VALUE_SYNTAX))


def _syntax_problems(
    text: str, max_length: int, pattern: re.Pattern[str], syntax: str
) -> Iterable[str]:
    if len(text) > max_length:
        yield f"must be no more than {max_length} characters"
    if not pattern.fullmatch(text):
        yield syntax
