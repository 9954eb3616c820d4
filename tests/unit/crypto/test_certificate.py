"""Certificates: bitmaps as the contract reads them, and the order of refusals."""

import pytest

from haulout import bcs
from haulout.crypto.certificate import (
    Certificate,
    InvalidBitmap,
    NotEnoughStake,
    SignatureInvalid,
    Signer,
    bitmap_of,
    check_certificate,
    signers_of,
)
from haulout.crypto.keyed_hash import KeyedHash
from haulout.primitives import is_one_correct, is_quorum

SCHEME = KeyedHash()
SECRETS = [SCHEME.generate(bytes([i]) * 32) for i in range(10)]
WEIGHTS = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
MEMBERS = [Signer(SCHEME.public_key(secret), weight) for secret, weight in zip(SECRETS, WEIGHTS, strict=True)]


def certificate(*signers: int, message: bytes = b"message") -> Certificate:
    signature = SCHEME.aggregate([SCHEME.sign(SECRETS[i], message) for i in signers])
    return Certificate(message, signature, bitmap_of(signers))


def check(made: Certificate, members: list[Signer] = MEMBERS, message: bytes | None = None) -> int:
    return check_certificate(
        SCHEME,
        members,
        message=made.message if message is None else message,
        signature=made.signature,
        bitmap=made.signers,
        is_enough=is_quorum,
    )


@pytest.mark.parametrize(
    ("signers", "bitmap"),
    [([], ""), ([0], "01"), ([7], "80"), ([8], "0001"), ([0, 1, 2, 3, 4, 7, 8], "9f01"), ([9, 9, 0], "0102")],
)
def test_member_i_is_bit_i_least_significant_first(signers: list[int], bitmap: str) -> None:
    assert bitmap_of(signers).hex() == bitmap
    assert signers_of(bytes.fromhex(bitmap), 10) == sorted(set(signers))


@pytest.mark.parametrize(("bitmap", "n_members"), [("0004", 10), ("0080", 10), ("000000", 10), ("01", 0), ("0001", 8)])
def test_refuses_bits_and_bytes_beyond_the_members(bitmap: str, n_members: int) -> None:
    with pytest.raises(InvalidBitmap) as caught:
        signers_of(bytes.fromhex(bitmap), n_members)
    assert caught.value.code == "INVALID_BITMAP"
    assert caught.value.n_members == n_members


def test_missing_bytes_are_zeros_and_trailing_zeros_are_allowed() -> None:
    assert signers_of(b"", 10) == []
    assert signers_of(b"\x01\x00", 10) == [0]


def test_a_quorum_gives_its_weight() -> None:
    assert check(certificate(0, 1, 2, 3, 4, 7, 8)) == 7
    assert check(certificate(*range(10))) == 10


def test_refuses_too_little_weight_before_looking_at_the_signature() -> None:
    with pytest.raises(NotEnoughStake) as caught:
        check(Certificate(b"message", bytes(96), bitmap_of(range(6))))
    assert (caught.value.weight, caught.value.n_shards, caught.value.code) == (6, 10, "NOT_ENOUGH_STAKE")


def test_weight_is_counted_in_shards() -> None:
    heavy = [Signer(member.public_key, 91 if i == 3 else 1) for i, member in enumerate(MEMBERS)]
    assert check(certificate(3), heavy) == 91


def test_refuses_other_signers_than_the_bitmap_says() -> None:
    made = certificate(0, 1, 2, 3, 4, 5, 6)
    for bitmap in (bitmap_of([0, 1, 2, 3, 4, 5, 7]), bitmap_of(range(8))):
        with pytest.raises(SignatureInvalid) as caught:
            check(Certificate(made.message, made.signature, bitmap))
        assert caught.value.code == "SIG_VERIFICATION"


def test_refuses_another_message() -> None:
    with pytest.raises(SignatureInvalid):
        check(certificate(*range(7)), message=b"massage")


def test_the_threshold_is_the_callers() -> None:
    made = certificate(0, 1, 2, 3)
    weight = check_certificate(
        SCHEME, MEMBERS, message=b"message", signature=made.signature, bitmap=made.signers, is_enough=is_one_correct
    )
    assert weight == 4


def test_canonical_bytes_round_trip() -> None:
    made = certificate(0, 8)
    raw = bcs.encode(made)
    assert raw == b"\x07message" + made.signature + b"\x02\x01\x01"
    assert bcs.decode(Certificate, raw) == made
