"""The page is for this machine's user: other sites can neither read nor change anything."""

import re

import pytest

from tests.simulator.page.conftest import Stage, Visitor

STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


def port(visitor: Visitor) -> str:
    """The port of the page."""
    return visitor.url.rstrip("/").rpartition(":")[2]


async def test_it_listens_on_loopback_only(visitor: Visitor) -> None:
    """Its URL is this machine's."""
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", visitor.url)


@pytest.mark.parametrize("path", ["", "main.js", "style.css", "icon.svg", "events", "nothing"])
async def test_every_answer_says_what_may_be_loaded(visitor: Visitor, path: str) -> None:
    """The policy and other headers are on every response, including errors and the stream."""
    async with visitor.session.get(visitor.url + path) as response:
        assert response.headers["Content-Security-Policy"] == STRICT
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("path", ["", "main.js", "events"])
@pytest.mark.parametrize(
    "host", ["demo.example", "127.0.0.1.example:80", "", "[::2]", "10.0.0.1", "::1", "local host"]
)
async def test_another_name_is_refused(visitor: Visitor, path: str, host: str) -> None:
    """A name that an attacker's DNS resolves to 127.0.0.1 gets nothing."""
    status, text = await visitor.get(path, {"Host": host})
    assert status == 421
    assert "DNS rebinding" in text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9999", "[::1]:80", "LOCALHOST:1"])
async def test_a_forwarded_port_works(visitor: Visitor, host: str) -> None:
    """Through ssh the port may differ, and the page can still change things."""
    assert (await visitor.get("", {"Host": host}))[0] == 200
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert (await visitor.post("load", {"amount": 1}, headers))[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://example.com", "http://127.0.0.1:1", "null", "https://127.0.0.1:{port}", ""]
)
@pytest.mark.parametrize("path", ["load", "fault", "hpa"])
async def test_another_origin_changes_nothing(stage: Stage, path: str, origin: str) -> None:
    """Another site's form or script is rejected, before its body is read."""
    visitor = stage.visitor
    headers = {"Origin": origin.format(port=port(visitor))}
    status, answer = await visitor.post(path, {"amount": 1}, headers)
    assert status == 403
    assert "only the page itself" in str(answer)


async def test_a_change_without_an_origin_is_refused(visitor: Visitor) -> None:
    """Browsers send it with every POST."""
    headers = {"Content-Type": "application/json"}
    async with visitor.session.post(
        visitor.url + "load", data=b'{"amount":1}', headers=headers
    ) as response:
        assert response.status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_site_takes_no_stream(visitor: Visitor, site: str) -> None:
    """It could not read it, but could use up all streams; a link to the page works."""
    assert (await visitor.get("events", {"Sec-Fetch-Site": site}))[0] == 403
    assert (await visitor.get("", {"Sec-Fetch-Site": site}))[0] == 200
    headers = {"Sec-Fetch-Site": site}
    assert (await visitor.post("load", {"amount": 1}, headers))[0] == 403


async def test_a_stream_for_another_origin_is_refused(visitor: Visitor) -> None:
    """Another origin's EventSource sends this header."""
    assert (await visitor.get("events", {"Origin": "http://example.com"}))[0] == 403


@pytest.mark.parametrize("path", ["../live.py", "%2e%2e/live.py", "static/main.js", "index.html/"])
async def test_there_are_no_other_files(visitor: Visitor, path: str) -> None:
    """Only the page's own files are served."""
    assert (await visitor.get(path))[0] == 404


async def test_every_file_that_a_file_names_is_there(visitor: Visitor) -> None:
    """The page, its modules and styles; nothing from another origin, nothing inline."""
    _, html = await visitor.get("")
    named = re.findall(r'(?:src|href)="([^"#]+)"', html)
    assert {"main.js", "style.css", "icon.svg"} == set(named)
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|style=", html)
    for path in {*named, "chart.js", "controls.js", "dom.js", "view.js"}:
        status, text = await visitor.get(path)
        assert status == 200
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
        for module in re.findall(r'from "\./(\S+)";', text):
            assert (await visitor.get(module))[0] == 200
