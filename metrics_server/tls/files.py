"""Serving pairs from files that somebody else renews: a kubelet, cert-manager, a person."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from metrics_server.common.outages import Outage
from metrics_server.errors import ConfigurationError
from metrics_server.telemetry.metrics import Monitor
from metrics_server.tls.authority import KeyPair
from metrics_server.tls.certificates import read_pair
from metrics_server.tls.pairs import told, validity

log = structlog.stdlib.get_logger(__name__)


class CertificateFiles:
    """Follows the content of two files.

    Content, and not the time of a change: a kubelet swaps a symbolic link somewhere above the
    files, and some file systems tell no time that can be trusted.

    Args:
        certificate: the certificate (chain), PEM.
        key: its key, PEM.
        use: takes up a pair, in a thread; it may raise a ConfigurationError.
        monitor: told of pairs taken up and refused.
        interval: how often the files are read, in seconds.
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
            "kept the serving certificate, as the files hold no better",
            "the files of the serving certificate can be used again",
            each_error=True,
        )

    async def load(self) -> None:
        """Take up what the files hold, if it is not in use already.

        Raises:
            ConfigurationError: they cannot be used; the pair before stays in use.
        """
        pair = await asyncio.to_thread(read_pair, self._certificate, self._key)
        if pair != self._pair:
            await asyncio.to_thread(self._use, pair)
            end = validity(pair.certificate).end
            self._monitor.certificate_used(end.timestamp())
            log.info("serving with the certificate of a file", expires=told(end))
            self._pair = pair
        self._outage.recovered()

    async def run(self) -> None:
        """Follow the files, until cancelled; nothing that is in them ends it."""
        while True:
            await self._sleep(self._interval)
            try:
                await self.load()
            except ConfigurationError as error:
                if self._outage.failed(error):
                    self._monitor.certificate_refused()
