"""However a path is spelled, the server serves exactly what was authorized."""

from collections.abc import Iterator

import pytest

from metrics_server.api.types import GROUP
from metrics_server.auth.request_info import Attributes, attributes_of
from tests.support.guarding import METRIC, PROBES, SERVED, Server


def spellings(path: str) -> Iterator[str]:
    """Variants of a path, some of them equivalent."""
    for index, letter in enumerate(path):
        # Without its first slash it is not a target.
        if index:
            yield path[:index] + f"%{ord(letter):02X}" + path[index + 1 :]
        yield path[:index] + letter.swapcase() + path[index + 1 :]
        if letter == "/":
            for between in ("/", "./", "../", "%2F", "%2E%2E/", "a/../"):
                yield path[: index + 1] + between + path[index + 1 :]
    for end in ("/", "//", "/.", "/..", "/./", "%2F", "%00", "%20", ";a", "/%2E", "\\", "?", "%3F"):
        yield path + end
    yield path.upper()
    yield path.title()


@pytest.mark.slow
async def test_what_is_served_is_what_was_authorized(server: Server) -> None:
    """Any spelling of a path is served only as it was authorized, or not at all."""
    server.reviews.decide = lambda _user, _attributes: {"allowed": True}
    reviewed: set[Attributes] = set()
    async with server.connected(server.certified) as client:
        # The answers of these two vary over time.
        canonical = [path for path in (*SERVED, *PROBES) if path not in (METRIC, "/metrics")]
        known = {(await client.ask(path)).body: path for path in canonical[:-3]}
        for path in [*canonical, METRIC]:
            for spelled in spellings(path):
                server.measured.namespace = server.measured.metric = ""
                answer = await client.ask(spelled)
                if answer.status != 200:
                    continue
                asked = attributes_of("GET", spelled.partition("?")[0], "")
                reviewed.add(asked)
                if server.measured.metric:
                    assert asked == Attributes(
                        "list",
                        server.measured.namespace,
                        GROUP,
                        "v1beta1",
                        server.measured.metric,
                    )
                elif answer.body != b"ok":
                    assert asked == Attributes("get", path=known[answer.body])
                else:
                    assert asked == Attributes("get", path=path)
    # Each was also served under some other spelling.
    assert {one.path for one in reviewed if one.path} == set(canonical)
