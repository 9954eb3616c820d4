"""Ed25519, the signatures of accounts, and how an address follows from a key.

An address is BLAKE2b-256 over the flag 00 and the public key, as on Sui. Keys are 32 bytes, signatures 64.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from haulout.crypto.hashing import ED25519_FLAG, blake2b256
from haulout.errors import InvalidField
from haulout.primitives import Address

SEED_BYTES = 32


def generate(seed: bytes) -> bytes:
    """The secret key of 32 random bytes: the seed of RFC 8032 itself.

    Raises:
        InvalidField: not 32 bytes.
    """
    if len(seed) != SEED_BYTES:
        raise InvalidField(field="seed", problem=f"{len(seed)} bytes; an Ed25519 key has {SEED_BYTES}")
    return bytes(seed)


def public_key(secret: bytes) -> bytes:
    """The public key of a secret key.

    Raises:
        InvalidField: not 32 bytes.
    """
    return _private(secret).public_key().public_bytes_raw()


def sign(secret: bytes, message: bytes) -> bytes:
    """Signature of exactly these bytes."""
    return _private(secret).sign(message)


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the key's owner signed the message; False for bytes that are no key or no signature."""
    try:
        _public(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def address_of(key: bytes) -> Address:
    """The address of a public key."""
    return Address(blake2b256(ED25519_FLAG + key))


@lru_cache(maxsize=64)
def _private(secret: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(generate(secret))


@lru_cache(maxsize=4096)
def _public(key: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(key)
