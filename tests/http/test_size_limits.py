"""The maximum size of a head, and the cost of failed handshakes."""

import pytest

from metrics_server.http.limits import Limits
from tests.support.listening import AUTHORITY, REQUEST, connection, ended, serving, verified
from tests.support.peers import LoopFactory, ask, on_both_loops, run, trusting


async def test_a_head_has_a_greatest_size() -> None:
    """Many lines that are short enough are too many together."""
    async with (
        serving(Limits()) as port,
        connection(port, trusting(AUTHORITY.bundle)) as (reader, writer),
    ):
        writer.write(REQUEST[:-2] + b"X: " + b"y" * 8000 + b"\r\n")
        for _ in range(10):
            writer.write(b"X: " + b"y" * 8000 + b"\r\n")
        assert await ended(reader) == b""


@pytest.mark.parametrize("groups", [1, 1100, 8000])
async def test_a_user_may_have_many_groups(groups: int) -> None:
    """kube-apiserver sends each on a separate line."""
    lines = b"".join(b"X-Remote-Group: system:group-%d\r\n" % n for n in range(groups))
    async with (
        serving(Limits()) as port,
        connection(port, verified()) as (reader, writer),
    ):
        writer.write(REQUEST[:-2] + lines + b"\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_a_long_selector_fits() -> None:
    """A request line may have up to 32 KiB."""
    async with serving(Limits()) as port:
        for length, expected in ((30_000, b"200"), (40_000, b"400")):
            async with connection(port, trusting(AUTHORITY.bundle)) as (reader, writer):
                writer.write(
                    b"GET /?labelSelector=" + b"a" * length + b" HTTP/1.1\r\nHost: x\r\n\r\n"
                )
                assert (await reader.readline()).split()[1] == expected


@on_both_loops
def test_failed_handshakes_leave_nothing_behind(new_loop: LoopFactory) -> None:
    """A peer with more failures than allowed connections is not locked out."""

    async def body() -> None:
        async with serving(Limits(per_peer=2)) as port:
            for _ in range(10):
                async with connection(port) as (reader, writer):
                    writer.write(b"GET / HTTP/1.1\r\n\r\n")
                    await ended(reader)
            assert (await ask(port, trusting(AUTHORITY.bundle))).text == "nobody"

    run(new_loop, body())
