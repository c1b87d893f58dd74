"""Any content of the configuration file is rejected with a message, soon, and in little memory."""

import json
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metrics_server.config.document import DocumentError, read_document
from metrics_server.config.file import load_config
from metrics_server.config.sections import Config
from metrics_server.errors import ConfigurationError

pytestmark = pytest.mark.slow

# A billion words in two hundred bytes.
BOMB = "a: &a [w, w, w, w, w, w, w, w, w]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "aliases": BOMB,
    "aliases in a list of sections": (
        "exporters:\n  services:\n    - &s {"
        + ", ".join(f"k{i}: v" for i in range(1000))
        + "}\n"
        + "    - *s\n" * 1000
    ),
    "an alias of itself": "exporters: &a {services: [*a]}",
    "an alias of nothing": "exporters: *nothing",
    "merges": "x0: &x0 {a: 1}\n"
    + "".join(f"x{i}: &x{i} {{<<: [*x{i - 1}, *x{i - 1}]}}\n" for i in range(1, 40)),
    "deep lists": "[" * 1_000 + "]" * 1_000,
    "deep mappings": "{a: " * 1_000 + "}" * 1_000,
    "deep dashes": "- " * 1_000,
    "deep question marks": "? " * 1_000,
    "many settings": "\n".join(f"k{i}: v" for i in range(1000)),
    "a long number": "gauges: " + "9" * 5000,
    "a long number of base 60": "gauges: 1" + ":1" * 10_000,
    "a number that is none": "gauges: 0b_",
    "a day that is none": "gauges: 2026-13-45",
    "a tag that is not its value's": "gauges: !!bool perhaps",
    "a tag of an empty number": 'gauges: !!int ""',
    "an object of Python": "gauges: !!python/object/apply:os.system [exit]",
    "two documents": "gauges: true\n---\ngauges: false\n",
    "keys that are lists": "? [a, b]\n: c\n",
    "keys that are aliases": "a: &a b\n*a : c\n",
    "half a character": 'gauges: "\\ud800"',
    "half a character as a key": '"\\ud800": 1',
    "escape codes as a key": '"\\e[2J\\e]0;x\\a": 1',
    "a key that is a number": "1: 2",
    "a key that is nothing": "~: 2",
    "blanks": " " * 20_000 + "[",
    "comments": "#\n" * 10_000 + "[",
    "not a number": "fallback: {minCoverage: .nan}",
    "infinite": "fallback: {simulated: {base: .inf}}",
    "a duration without end": f"exporters: {{timeout: {'9' * 400}h}}",
}


def write(folder: Path, content: bytes) -> Path:
    """A configuration file with this content."""
    path = folder / "config.yaml"
    path.write_bytes(content)
    return path


def refusal(path: Path) -> str:
    """The message for a rejected file."""
    with pytest.raises(ConfigurationError) as raised:
        load_config(path)
    return str(raised.value)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_content_is_too_much(tmp_path: Path, text: str) -> None:
    """A hostile file is rejected within seconds and megabytes, with a page of text at most."""
    path = write(tmp_path, text.encode())
    tracemalloc.start()
    began = time.perf_counter()
    try:
        message = refusal(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - began < 30
    assert peak < 64 * 1024 * 1024
    assert message.startswith(str(path))
    assert len(message) < 20_000
    assert all(line.isprintable() for line in message.splitlines())


def test_50_mb_are_not_read(tmp_path: Path) -> None:
    """A large file is rejected for its size alone."""
    path = tmp_path / "config.yaml"
    with path.open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    assert refusal(path) == f"{path} is larger than 262144 bytes"


@pytest.mark.parametrize("content", [b"\xff\xfea\x00", b"gauges: \xff", b"\x80"])
def test_what_is_not_utf_8(tmp_path: Path, content: bytes) -> None:
    """The message says where."""
    assert " is not UTF-8: invalid start byte at byte " in refusal(write(tmp_path, content))


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    """YAML takes the last one, so a fallback chain could be lost without notice."""
    path = write(
        tmp_path,
        b"fallback:\n  chain: [error]\npods: {measure: ready}\nfallback:\n  minCoverage: 1\n"
        b"exporters:\n  services:\n    - {namespace: a, name: b}\n"
        b"    - {namespace: c, 'name': d, \"name\": e}\n",
    )
    assert refusal(path) == (
        f"{path}:\n"
        "  fallback: set twice, on lines 1 and 4\n"
        "  exporters.services.1.name: set twice, on lines 9 and 9"
    )


def test_an_anchor_may_be_used(tmp_path: Path) -> None:
    """A value may be written once and used twice, or merged into a mapping."""
    path = write(
        tmp_path,
        b"exporters:\n  scheme: https\n  services:\n"
        b"    - {namespace: a, name: b, tls: &tls {caFile: /ca.crt}}\n"
        b"    - {namespace: c, name: d, tls: *tls}\n"
        b"    - {namespace: c, name: e, tls: {<<: *tls, serverName: e}}\n",
    )
    services = load_config(path).exporters.services
    assert [one.tls and one.tls.ca_file for one in services] == [Path("/ca.crt")] * 3


_SCALARS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["~", "{}", "[]", ".nan", "-.inf", "1e999", "2s", "on", "<<", "=", "0o_", "!x", "*a", "&a"]
    ),
)
_NESTED = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.dictionaries(
            st.one_of(
                _SCALARS, st.sampled_from(["exporters", "services", "urls", "auth", "rules"])
            ),
            inner,
            max_size=3,
        ).map(lambda parts: "{" + ", ".join(f"{k}: {v}" for k, v in parts.items()) + "}"),
    ),
    max_leaves=12,
)


def _refused_or_read(path: Path) -> None:
    try:
        assert isinstance(load_config(path), Config)
    except ConfigurationError as error:
        assert str(error).startswith(str(path))  # noqa: PT017 - either is right


@settings(max_examples=150, deadline=None)
@given(content=st.one_of(st.binary(max_size=200), _NESTED.map(lambda text: text.encode("utf-8"))))
@example(content=b"\xef\xbb\xbfgauges: true")
@example(content=b"%YAML 9.9\n---\na: b")
@example(content=b"a: !<x\n")
@example(content=b"\x00")
def test_anything_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Any content is either a configuration, or rejected with a message that names the file."""
    _refused_or_read(write(tmp_path_factory.getbasetemp(), content))


_SECTIONS = st.fixed_dictionaries(
    {},
    optional={
        name: st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=10), inner)
            ),
            max_leaves=5,
        )
        for name in Config.model_json_schema()["properties"]
    },
)


@settings(max_examples=100, deadline=None)
@given(document=_SECTIONS)
def test_any_value_of_a_section_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    """JSON is YAML: any value in a section is either a setting or rejected."""
    _refused_or_read(
        write(tmp_path_factory.getbasetemp(), json.dumps(document).encode("utf-8", "replace"))
    )


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.one_of(st.booleans(), st.integers(-9, 9), st.text("ab", max_size=3)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(st.text("abc", max_size=3), inner)
        ),
        max_leaves=20,
    )
)
def test_a_good_document_is_read_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, document: object
) -> None:
    """The check before reading rejects nothing valid."""
    path = write(tmp_path_factory.getbasetemp(), json.dumps(document).encode())
    assert read_document(path) == document


def test_a_folder_is_not_read(tmp_path: Path) -> None:
    """The system's error is reported."""
    with pytest.raises(DocumentError, match=r"cannot be read: .*directory"):
        read_document(tmp_path)


def test_signs_that_are_texts(tmp_path: Path) -> None:
    """As in YAML 1.2: Helm writes them without quotes. As a key, `<<` still merges."""
    path = tmp_path / "config.yaml"
    path.write_text("=: &a {b: =, c: [=, <<]}\nd: {<<: *a, b: <<}\n", encoding="utf-8")
    assert read_document(path) == {
        "=": {"b": "=", "c": ["=", "<<"]},
        "d": {"b": "<<", "c": ["=", "<<"]},
    }
