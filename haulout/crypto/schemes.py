"""The signature scheme of storage nodes: a value handed to whoever signs or verifies.

Real networks use `bls.Bls12381`; simulations mostly `keyed_hash.KeyedHash`, which has the same shapes and costs
nothing. Verification is total: bytes that are no key or no signature verify as False and raise nothing. Signing and
aggregating are for one's own keys and for signatures that were verified; anything else raises `InvalidField`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

SECRET_BYTES = 32
PUBLIC_KEY_BYTES = 48
SIGNATURE_BYTES = 96


class SignatureScheme(Protocol):
    """Signatures that can be aggregated over one message."""

    @property
    def name(self) -> str:
        """What the scheme is called in logs and in genesis."""

    def generate(self, seed: bytes) -> bytes:
        """A secret key of 32 bytes from a seed of 32 random bytes."""

    def public_key(self, secret: bytes) -> bytes:
        """The public key of a secret key, 48 bytes."""

    def sign(self, secret: bytes, message: bytes) -> bytes:
        """Signature of exactly these bytes, 96 bytes."""

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Whether the key's owner signed the message."""

    def aggregate(self, signatures: Sequence[bytes]) -> bytes:
        """One signature, 96 bytes, for signatures over one message; each has been verified."""

    def verify_aggregate(self, public_keys: Sequence[bytes], message: bytes, signature: bytes) -> bool:
        """Whether all these keys' owners signed the message; False for no keys."""

    def validate_public_key(self, public_key: bytes) -> bool:
        """Whether the bytes are a key that may be registered: in the subgroup and not the identity."""
