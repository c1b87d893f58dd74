"""The certificates that a peer presents."""

from functools import cached_property
from hashlib import sha256

from msgspec import Struct


class PeerCertificates(Struct, frozen=True, dict=True):
    """The certificates that a peer presented in the handshake; it has the key of the first.

    Attributes:
        chain: DER, the peer's own first. None of them is verified yet.
    """

    chain: tuple[bytes, ...]

    @cached_property
    def digest(self) -> bytes:
        """A hash of the certificates, as the key of caches."""
        digest = sha256()
        for der in self.chain:
            digest.update(len(der).to_bytes(8))
            digest.update(der)
        return digest.digest()
