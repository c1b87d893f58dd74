import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from metrics_server.errors import ConfigurationError
from metrics_server.http.listener import listening
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.authority import Authority, KeyPair
from metrics_server.tls.context import ListeningContext
from metrics_server.tls.files import CertificateFiles
from tests.support.peers import HOST, PATIENCE_SECONDS, ask, server, trusting

FAILURES = "gpu_metrics_server_certificate_reload_failures_total"
EXPIRY = "gpu_metrics_server_certificate_expiration_timestamp_seconds"


class Mount:
    """A folder as a kubelet mounts a Secret: one symbolic link swaps its contents."""

    def __init__(self, path: Path) -> None:
        self.certificate, self.key = path / "tls.crt", path / "tls.key"
        self._path = path
        self._versions = 0
        self.certificate.symlink_to("..data/tls.crt")
        self.key.symlink_to("..data/tls.key")

    def put(self, pair: KeyPair) -> None:
        """Swap the files for others."""
        self._versions += 1
        version = self._path / f"..version-{self._versions}"
        version.mkdir()
        (version / "tls.crt").write_bytes(pair.certificate)
        (version / "tls.key").write_bytes(pair.key)
        link = self._path / "..data_tmp"
        link.symlink_to(version.name)
        link.rename(self._path / "..data")

    def empty(self) -> None:
        """Remove the files."""
        (self._path / "..data").unlink()


class Follower:
    """Files that are followed, and read when the test says so."""

    def __init__(self, mount: Mount, monitor: Monitor, use: Callable[[KeyPair], None]) -> None:
        self._turn = asyncio.Semaphore(0)
        self._idle = asyncio.Event()
        self.files = CertificateFiles(
            mount.certificate, mount.key, use=use, monitor=monitor, sleep=self._sleep
        )

    async def _sleep(self, _: float) -> None:
        self._idle.set()
        await self._turn.acquire()

    async def read(self) -> None:
        """Read them once more."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._idle.wait()
            self._idle.clear()
            self._turn.release()
            await self._idle.wait()


@asynccontextmanager
async def followed(
    mount: Mount, monitor: Monitor, use: Callable[[KeyPair], None]
) -> AsyncIterator[Follower]:
    """Files that were loaded, and are followed for as long as the context."""
    follower = Follower(mount, monitor, use)
    await follower.files.load()
    task = asyncio.create_task(follower.files.run(), name="follow-files")
    try:
        yield follower
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    """An empty mount."""
    return Mount(tmp_path)


@pytest.fixture
def authority() -> Authority:
    """The authority of every valid pair."""
    return Authority("test")


async def test_a_swapped_pair_is_served(
    mount: Mount, authority: Authority, monitor: Monitor, registry: CollectorRegistry
) -> None:
    """After the kubelet's swap, new connections get the new pair, and the metric its expiry."""
    first = authority.issue([HOST], timedelta(days=5))
    second = authority.issue([HOST], timedelta(days=50))
    mount.put(first)
    context = ListeningContext(authority.issue([HOST]))
    client = trusting(authority.bundle)
    async with (
        followed(mount, monitor, context.use_pair) as follower,
        listening(server(), HOST, 0, context) as (_, port),
    ):
        expiry = registry.get_sample_value(EXPIRY, {"certificate": "serving"})
        before = await ask(port, client)
        mount.put(second)
        await follower.read()
        after = await ask(port, client)
        assert after.serial != before.serial
        assert expiry is not None
        days = (registry.get_sample_value(EXPIRY, {"certificate": "serving"}) or 0) - expiry
        assert days == pytest.approx(45 * 24 * 3600, abs=5)
        assert registry.get_sample_value(FAILURES) == 0


def _mixed(authority: Authority) -> KeyPair:
    return KeyPair(authority.issue([HOST]).certificate, authority.issue([HOST]).key)


def _expired(_: Authority) -> KeyPair:
    longer_ago = datetime.now(UTC) - timedelta(days=9)
    return Authority("gone", timedelta(days=1), now=longer_ago).issue([HOST], now=longer_ago)


def _not_yet_valid(authority: Authority) -> KeyPair:
    return authority.issue([HOST], now=datetime.now(UTC) + timedelta(days=2))


def _half_written(authority: Authority) -> KeyPair:
    pair = authority.issue([HOST])
    return KeyPair(pair.certificate[:100], pair.key)


def _no_key(authority: Authority) -> KeyPair:
    return KeyPair(authority.issue([HOST]).certificate, b"")


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (_mixed, "the key does not match the certificate"),
        (_expired, "the certificate expired at 20"),
        (_not_yet_valid, "the certificate is not valid before 20"),
        (_half_written, "the certificate is not PEM"),
        (_no_key, "the key is not PEM"),
        (None, "No such file"),
    ],
)
async def test_a_pair_that_cannot_be_used_is_refused_once(
    *,
    mount: Mount,
    authority: Authority,
    monitor: Monitor,
    registry: CollectorRegistry,
    broken: Callable[[Authority], KeyPair] | None,
    why: str,
) -> None:
    """The current pair stays in use, which is logged once, and the next valid pair is loaded."""
    used: list[KeyPair] = []
    good, better = authority.issue([HOST]), authority.issue([HOST])
    mount.put(good)
    async with followed(mount, monitor, used.append) as follower:
        if broken is None:
            mount.empty()
        else:
            mount.put(broken(authority))
        with capture_logs() as logs:
            for _ in range(3):
                await follower.read()
        assert used == [good]
        (told,) = logs
        assert why in told["error"]
        assert str(mount.certificate) in told["error"]
        assert told["log_level"] == "warning"
        assert registry.get_sample_value(FAILURES) == 1
        if broken is not None:
            mount.empty()
            await follower.read()
            assert registry.get_sample_value(FAILURES) == 2
        mount.put(better)
        with capture_logs() as logs:
            await follower.read()
        assert logs[-1]["event"] == "serving certificate files usable again"
        assert used == [good, better]


async def test_the_same_content_is_nothing_new(
    mount: Mount, authority: Authority, monitor: Monitor
) -> None:
    """A kubelet also swaps the link when only another key of the Secret has changed."""
    used: list[KeyPair] = []
    pair = authority.issue([HOST])
    mount.put(pair)
    async with followed(mount, monitor, used.append) as follower:
        mount.put(pair)
        await follower.read()
        assert used == [pair]


async def test_at_the_start_a_broken_pair_is_an_error(mount: Mount, monitor: Monitor) -> None:
    """Without an earlier pair, an unusable one is an error."""
    mount.put(_expired(Authority("any")))
    files = CertificateFiles(mount.certificate, mount.key, use=lambda _: None, monitor=monitor)
    with pytest.raises(ConfigurationError, match="expired"):
        await files.load()
