"""Serving pairs from files that are renewed by others: a kubelet, cert-manager, a person."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from metrics_server.common.outages import Outage
from metrics_server.errors import ConfigurationError
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.authority import KeyPair
from metrics_server.tls.certificates import read_pair
from metrics_server.tls.pairs import utc_text, validity

log = structlog.stdlib.get_logger(__name__)


class CertificateFiles:
    """Reloads a pair of files when their content changes.

    It compares contents rather than modification times: a kubelet swaps a symbolic link somewhere
    above the files, and some file systems have unreliable times.

    Args:
        certificate: the certificate (chain), PEM.
        key: its key, PEM.
        use: serves with a pair; called in a thread; it may raise a ConfigurationError.
        monitor: counts failures, and records when the certificate expires.
        interval: how often to read the files, in seconds.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        *,
        use: Callable[[KeyPair], None],
        monitor: Monitor,
        interval: float = 5,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._use = use
        self._monitor = monitor
        self._interval = interval
        self._sleep = sleep
        self._pair: KeyPair | None = None
        self._outage = Outage(
            log,
            "serving certificate not reloaded, keeping the current one",
            "serving certificate files usable again",
            each_error=True,
        )

    async def load(self) -> None:
        """Serve with the pair in the files, if it is not in use already.

        Raises:
            ConfigurationError: the files are unusable; the current pair stays in use.
        """
        pair = await asyncio.to_thread(read_pair, self._certificate, self._key)
        if pair != self._pair:
            await asyncio.to_thread(self._use, pair)
            end = validity(pair.certificate).end
            self._monitor.certificate_used(end.timestamp())
            log.info("serving certificate loaded from files", expires=utc_text(end))
            self._pair = pair
        self._outage.recovered()

    async def run(self) -> None:
        """Reload the files when they change, until cancelled; bad content does not end it."""
        while True:
            await self._sleep(self._interval)
            try:
                await self.load()
            except ConfigurationError as error:
                if self._outage.failed(error):
                    self._monitor.certificate_refused()
