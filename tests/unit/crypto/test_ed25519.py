"""Accounts: RFC 8032's first test, addresses, and totality."""

import hashlib

import pytest

from haulout.crypto import ed25519
from haulout.errors import InvalidField

SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
KEY = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
    "d25bf5f0595bbe24655141438e7a100b"
)


def test_agrees_with_rfc_8032() -> None:
    assert ed25519.generate(SECRET) == SECRET
    assert ed25519.public_key(SECRET) == KEY
    assert ed25519.sign(SECRET, b"") == SIGNATURE
    assert ed25519.verify(KEY, b"", SIGNATURE)


def test_address_is_the_hash_of_flag_and_key() -> None:
    assert ed25519.address_of(KEY) == hashlib.blake2b(b"\x00" + KEY, digest_size=32).digest()


@pytest.mark.parametrize("garbage", [b"", b"\x00", bytes(64), b"\xff" * 32, b"\xff" * 64, SIGNATURE + b"\x00"])
def test_verify_is_total(garbage: bytes) -> None:
    assert not ed25519.verify(KEY, b"", garbage)
    assert not ed25519.verify(garbage, b"", SIGNATURE)
    assert not ed25519.verify(KEY, garbage + b"!", SIGNATURE)


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)])
def test_refuses_seeds_of_another_length(seed: bytes) -> None:
    for use in (lambda: ed25519.generate(seed), lambda: ed25519.public_key(seed), lambda: ed25519.sign(seed, b"")):
        with pytest.raises(InvalidField, match="seed"):
            use()
