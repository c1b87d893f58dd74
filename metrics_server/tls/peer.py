"""What the other end of a connection showed of itself."""

from functools import cached_property
from hashlib import sha256

from msgspec import Struct


class PeerCertificates(Struct, frozen=True, dict=True):
    """What a peer showed in the handshake; it holds the key of the first certificate.

    Attributes:
        chain: DER, the peer's own first. Nothing in it is verified yet.
    """

    chain: tuple[bytes, ...]

    @cached_property
    def digest(self) -> bytes:
        """What stands for these certificates wherever results about them are kept."""
        digest = sha256()
        for der in self.chain:
            digest.update(len(der).to_bytes(8))
            digest.update(der)
        return digest.digest()
