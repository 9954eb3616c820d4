"""A stand-in for BLS in simulations: same shapes, a thousandth of the cost, and no security whatever.

The secret can be read off the public key, so anyone could forge; but no *program under test* does, and every wrong
message, wrong key, missing or doubled signer is noticed as with the real scheme. A signature is a keyed BLAKE2b of
the message; an aggregate is the sum of the signatures modulo 2^768, as the real one is a sum of points; who verifies
computes all of them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from haulout.crypto.schemes import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from haulout.errors import InvalidField

_KEY_PREFIX = b"insecure keyed\x00\x00"  # a public key is this and the secret
_MODULUS = 1 << (8 * SIGNATURE_BYTES)


class KeyedHash:
    """For simulations and tests only: insecure by construction."""

    name = "keyed-hash-insecure"

    def generate(self, seed: bytes) -> bytes:
        return hashlib.blake2b(seed, digest_size=32, person=b"haulout keygen").digest()

    def public_key(self, secret: bytes) -> bytes:
        return _KEY_PREFIX + secret

    def sign(self, secret: bytes, message: bytes) -> bytes:
        digest = hashlib.blake2b(message, key=secret, digest_size=48).digest()
        return digest + hashlib.blake2b(digest, key=secret, digest_size=48).digest()

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        return self.verify_aggregate((public_key,), message, signature)

    def aggregate(self, signatures: Sequence[bytes]) -> bytes:
        if any(len(signature) != SIGNATURE_BYTES for signature in signatures):
            raise InvalidField(field="signature", problem=f"not {SIGNATURE_BYTES} bytes")
        total = sum(int.from_bytes(signature, "big") for signature in signatures) % _MODULUS
        return total.to_bytes(SIGNATURE_BYTES, "big")

    def verify_aggregate(self, public_keys: Sequence[bytes], message: bytes, signature: bytes) -> bool:
        if not public_keys or not all(self.validate_public_key(key) for key in public_keys):
            return False
        secrets = [bytes(key[len(_KEY_PREFIX) :]) for key in public_keys]
        return self.aggregate([self.sign(secret, message) for secret in secrets]) == signature

    def validate_public_key(self, public_key: bytes) -> bool:
        return len(public_key) == PUBLIC_KEY_BYTES and bytes(public_key).startswith(_KEY_PREFIX)
