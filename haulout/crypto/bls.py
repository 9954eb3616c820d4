"""BLS12-381, minimal public key, basic ciphersuite: the signatures of Walrus.

Public keys are compressed G1 points, signatures compressed G2 points; the message is hashed as it is under the NUL
tag, proofs of possession included. Rogue keys are kept out by those proofs. A verification costs 1.5 ms, so a whole
certificate is verified by one pairing check over the sum of its signers' keys.

The native library is imported when the first `Bls12381` is made. Source: `walrus-core`, `keys.rs`; `fastcrypto`,
`bls12381/min_pk`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from haulout.crypto.schemes import PUBLIC_KEY_BYTES, SECRET_BYTES, SIGNATURE_BYTES
from haulout.errors import InvalidField

DST = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_NUL_"
ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
KEY_FILE_SCHEME = 4
CACHED_KEYS = 1024
# A committee signs one message after the other: each is hashed, and each signature decompressed, to verify that
# signature, to add it to the others, and to verify the certificate.
CACHED_MESSAGES = 64
CACHED_SIGNATURES = 512
CACHED_CHECKS = 256  # a certificate is verified by who makes it and again where it is executed
_KEYGEN_SALT = b"BLS-SIG-KEYGEN-SALT-"
_KEYGEN_INFO = b"\x00\x30"  # the length of the output below, big-endian
_KEYGEN_BYTES = 48


class Bls12381:
    """The real scheme. Keeps the points of keys, messages and signatures it met last; may be shared between threads."""

    name = "bls12381-min-pk"

    def __init__(self) -> None:
        import py_arkworks_bls12381 as curve

        self._curve: Any = curve
        self._minus_g1 = -curve.G1Point()
        self._no_key = curve.G1Point.identity()
        self._key_point = lru_cache(maxsize=CACHED_KEYS)(self._decompress_key)
        self._message_point = lru_cache(maxsize=CACHED_MESSAGES)(self._hash_to_curve)
        self._signature_point = lru_cache(maxsize=CACHED_SIGNATURES)(self._decompress_signature)
        self._is_signed_by = lru_cache(maxsize=CACHED_CHECKS)(self._check_sum)

    def generate(self, seed: bytes) -> bytes:
        """Key generation of the IRTF draft, as blst implements it.

        Raises:
            InvalidField: fewer than 32 bytes of seed.
        """
        if len(seed) < SECRET_BYTES:
            raise InvalidField(field="seed", problem=f"{len(seed)} bytes; a key needs {SECRET_BYTES}")
        salt, secret = _KEYGEN_SALT, 0
        while secret == 0:
            salt = hashlib.sha256(salt).digest()
            pseudorandom = hmac.digest(salt, seed + b"\x00", "sha256")
            secret = int.from_bytes(_hkdf_expand(pseudorandom, _KEYGEN_INFO, _KEYGEN_BYTES), "big") % ORDER
        return secret.to_bytes(SECRET_BYTES, "big")

    def public_key(self, secret: bytes) -> bytes:
        return bytes((self._curve.G1Point() * self._scalar(secret)).to_compressed_bytes())

    def sign(self, secret: bytes, message: bytes) -> bytes:
        return bytes((self._message_point(bytes(message)) * self._scalar(secret)).to_compressed_bytes())

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        return self.verify_aggregate((public_key,), message, signature)

    def aggregate(self, signatures: Sequence[bytes]) -> bytes:
        total = self._curve.G2Point.identity()
        for signature in signatures:
            point = self._signature_point(bytes(signature))
            if point is None:
                raise InvalidField(field="signature", problem="not a point of the signature group")
            total = total + point
        return bytes(total.to_compressed_bytes())

    def verify_aggregate(self, public_keys: Sequence[bytes], message: bytes, signature: bytes) -> bool:
        return self._is_signed_by(tuple(map(bytes, public_keys)), bytes(message), bytes(signature))

    def _check_sum(self, public_keys: tuple[bytes, ...], message: bytes, signature: bytes) -> bool:
        signed = self._signature_point(signature)
        if signed is None:
            return False
        total = self._no_key
        for public_key in public_keys:
            point = self._key_point(public_key)
            if point is None:
                return False
            total = total + point
        if total == self._no_key:  # no signers, or keys that cancel out: the identity would sign anything
            return False
        hashed = self._message_point(message)
        return bool(self._curve.GT.pairing_check([total, self._minus_g1], [hashed, signed]))

    def validate_public_key(self, public_key: bytes) -> bool:
        return self._key_point(bytes(public_key)) is not None

    def _hash_to_curve(self, message: bytes) -> Any:
        return self._curve.G2Point.hash_to_curve(message, DST)

    def _decompress_signature(self, signature: bytes) -> Any | None:
        """The point of a signature, None unless it is one of the right subgroup."""
        if len(signature) != SIGNATURE_BYTES:
            return None
        try:
            return self._curve.G2Point.from_compressed_bytes(signature)
        except ValueError:
            return None

    def _decompress_key(self, public_key: bytes) -> Any | None:
        """The point of a public key, None unless it is canonical, of the right subgroup and not the identity."""
        if len(public_key) != PUBLIC_KEY_BYTES:
            return None
        try:
            point = self._curve.G1Point.from_compressed_bytes(public_key)
        except ValueError:
            return None
        return None if point == self._no_key else point

    def _scalar(self, secret: bytes) -> Any:
        if len(secret) != SECRET_BYTES or not 0 < int.from_bytes(secret, "big") < ORDER:
            problem = "not a BLS12-381 secret key (32 bytes, not zero, below the group order)"
            raise InvalidField(field="secret", problem=problem)
        return self._curve.Scalar.from_be_bytes(bytes(secret))


def parse_key_file(text: str) -> bytes:
    """The secret key in Walrus's key file: base64 of a scheme byte and the scalar.

    Raises:
        InvalidField: another scheme, or not a key.
    """
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except ValueError as e:
        raise InvalidField(field="key_file", problem="not base64") from e
    if len(raw) != 1 + SECRET_BYTES or raw[0] != KEY_FILE_SCHEME or not 0 < int.from_bytes(raw[1:], "big") < ORDER:
        raise InvalidField(field="key_file", problem="not a BLS12-381 key (scheme 4 and 32 bytes)")
    return raw[1:]


def key_file_text(secret: bytes) -> str:
    """A secret key as Walrus's key file; inverse of `parse_key_file`."""
    return base64.b64encode(bytes([KEY_FILE_SCHEME]) + secret).decode()


def _hkdf_expand(pseudorandom: bytes, info: bytes, length: int) -> bytes:
    out = block = b""
    counter = 1
    while len(out) < length:
        block = hmac.digest(pseudorandom, block + info + bytes([counter]), "sha256")
        out += block
        counter += 1
    return out[:length]
