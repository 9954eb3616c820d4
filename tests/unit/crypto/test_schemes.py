"""Signature schemes: one suite for both, py_ecc as the oracle of the real one."""

import threading

import pytest

from haulout.crypto import bls
from haulout.crypto.bls import Bls12381
from haulout.crypto.keyed_hash import KeyedHash
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import InvalidField

ORDER_OF_BASE_FIELD = int(
    "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab", 16
)
IDENTITY_KEY = b"\xc0" + bytes(47)
IDENTITY_SIGNATURE = b"\xc0" + bytes(95)
# On the curve, outside the subgroup: x = 4 of y^2 = x^3 + 4 has a point there, but of another order.
OUTSIDE_SUBGROUP = b"\x80" + bytes(46) + b"\x04"


@pytest.fixture(params=[Bls12381, KeyedHash], scope="module")
def scheme(request: pytest.FixtureRequest) -> SignatureScheme:
    made: SignatureScheme = request.param()
    return made


@pytest.fixture(scope="module")
def secrets(scheme: SignatureScheme) -> list[bytes]:
    return [scheme.generate(bytes([i]) * 32) for i in range(1, 6)]


def test_shapes(scheme: SignatureScheme, secrets: list[bytes]) -> None:
    assert {len(secret) for secret in secrets} == {32}
    assert len(set(secrets)) == len(secrets)
    assert len(scheme.public_key(secrets[0])) == 48
    assert len(scheme.sign(secrets[0], b"message")) == 96
    assert scheme.generate(bytes([1]) * 32) == secrets[0]


def test_verifies_its_own_signature_and_nothing_else(scheme: SignatureScheme, secrets: list[bytes]) -> None:
    key, other = scheme.public_key(secrets[0]), scheme.public_key(secrets[1])
    signature = scheme.sign(secrets[0], b"message")
    assert scheme.validate_public_key(key)
    assert scheme.verify(key, b"message", signature)
    assert not scheme.verify(key, b"massage", signature)
    assert not scheme.verify(other, b"message", signature)
    assert not scheme.verify(key, b"message", scheme.sign(secrets[1], b"message"))


def test_aggregate_binds_the_set_of_signers(scheme: SignatureScheme, secrets: list[bytes]) -> None:
    keys = [scheme.public_key(secret) for secret in secrets]
    signatures = [scheme.sign(secret, b"message") for secret in secrets]
    together = scheme.aggregate(signatures[:4])
    assert len(together) == 96
    assert scheme.verify_aggregate(keys[:4], b"message", together)
    assert scheme.verify_aggregate(keys[3::-1], b"message", together)
    assert not scheme.verify_aggregate(keys[:3], b"message", together)
    assert not scheme.verify_aggregate(keys, b"message", together)
    assert not scheme.verify_aggregate(keys[1:5], b"message", together)
    assert not scheme.verify_aggregate(keys[:4], b"massage", together)
    doubled = scheme.aggregate([*signatures[:2], signatures[1]])
    assert not scheme.verify_aggregate(keys[:1], b"message", doubled)
    assert not scheme.verify_aggregate(keys[:2], b"message", doubled)


def test_nobody_signs_nothing(scheme: SignatureScheme) -> None:
    assert not scheme.verify_aggregate([], b"message", scheme.aggregate([]))
    assert not scheme.verify_aggregate([], b"message", IDENTITY_SIGNATURE)


@pytest.mark.parametrize(
    "garbage", [b"", b"\x00", bytes(48), b"\xff" * 48, b"\x80" + bytes(47), bytes(96), b"\xff" * 96, bytes(10_000)]
)
def test_is_total_on_garbage(scheme: SignatureScheme, secrets: list[bytes], garbage: bytes) -> None:
    key, signature = scheme.public_key(secrets[0]), scheme.sign(secrets[0], b"message")
    assert not scheme.validate_public_key(garbage)
    assert not scheme.verify(garbage, b"message", signature)
    assert not scheme.verify(key, b"message", garbage)
    assert not scheme.verify_aggregate([key, garbage], b"message", signature)


def test_aggregating_what_is_no_signature_is_a_typed_error(scheme: SignatureScheme) -> None:
    with pytest.raises(InvalidField, match="signature"):
        scheme.aggregate([b"short"])


class TestBls:
    def test_identity_is_no_key_in_any_encoding(self) -> None:
        scheme = Bls12381()
        for encoding in (IDENTITY_KEY, b"\xe0" + bytes(47), b"\xc0" + bytes(46) + b"\x01", b"\xff" * 48):
            assert not scheme.validate_public_key(encoding)
            assert not scheme.verify(encoding, b"message", IDENTITY_SIGNATURE)

    def test_keys_that_cancel_out_sign_nothing(self) -> None:
        scheme = Bls12381()
        secret = scheme.generate(bytes(32))
        minus = (bls.ORDER - int.from_bytes(secret, "big")).to_bytes(32, "big")
        keys = [scheme.public_key(secret), scheme.public_key(minus)]
        assert not scheme.verify_aggregate(keys, b"any message", IDENTITY_SIGNATURE)

    def test_refuses_a_key_outside_the_subgroup(self) -> None:
        from py_ecc.bls.point_compression import decompress_G1
        from py_ecc.bls.typing import G1Compressed

        decompress_G1(G1Compressed(int.from_bytes(OUTSIDE_SUBGROUP, "big")))  # it is on the curve
        assert not Bls12381().validate_public_key(OUTSIDE_SUBGROUP)

    def test_refuses_a_key_with_an_unreduced_coordinate(self) -> None:
        scheme = Bls12381()
        for seed in range(64):
            key = scheme.public_key(scheme.generate(bytes([seed]) * 32))
            flags, x = key[0] & 0xE0, int.from_bytes(key, "big") & ((1 << 381) - 1)
            if x + ORDER_OF_BASE_FIELD < 1 << 381:
                raised = (x + ORDER_OF_BASE_FIELD | flags << 376).to_bytes(48, "big")
                assert not scheme.validate_public_key(raised)
                return
        raise AssertionError("no seed gave a small coordinate")

    @pytest.mark.parametrize("secret", [bytes(32), bls.ORDER.to_bytes(32, "big"), b"\xff" * 32, b"\x01", b""])
    def test_refuses_what_is_no_secret(self, secret: bytes) -> None:
        scheme = Bls12381()
        for use in (lambda: scheme.public_key(secret), lambda: scheme.sign(secret, b"")):
            with pytest.raises(InvalidField, match="secret"):
                use()

    def test_refuses_a_short_seed(self) -> None:
        with pytest.raises(InvalidField, match="seed"):
            Bls12381().generate(bytes(31))

    def test_agrees_with_py_ecc(self) -> None:
        from py_ecc.bls import G2Basic

        scheme = Bls12381()
        seed = bytes(range(32))
        secret = scheme.generate(seed)
        number = int.from_bytes(secret, "big")
        assert number == G2Basic.KeyGen(seed)
        key, signature = scheme.public_key(secret), scheme.sign(secret, b"\x01\x00\x03message")
        assert key == G2Basic.SkToPk(number)
        assert signature == G2Basic.Sign(number, b"\x01\x00\x03message")
        assert scheme.aggregate([signature, signature]) == G2Basic.Aggregate([signature, signature])

    def test_one_scheme_serves_many_threads(self) -> None:
        scheme = Bls12381()
        secret = scheme.generate(bytes(32))
        key, signature = scheme.public_key(secret), scheme.sign(secret, b"message")
        results: list[bool] = []
        threads = [
            threading.Thread(target=lambda: results.append(scheme.verify(key, b"message", signature))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [True] * 8

    @pytest.mark.parametrize("text", ["", "?", "AAAA", "AhlM7tRefoPuaKoVoxVtnUBBDCfy+BGPREM8B6oSkOEj", "BA" + "A" * 42])
    def test_refuses_other_key_files(self, text: str) -> None:
        with pytest.raises(InvalidField, match="key_file"):
            bls.parse_key_file(text)

    def test_key_file_round_trip(self) -> None:
        secret = Bls12381().generate(bytes(32))
        assert bls.parse_key_file(bls.key_file_text(secret) + "\n") == secret
