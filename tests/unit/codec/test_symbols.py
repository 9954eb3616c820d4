"""Recovery symbols: every one of the matrix, what must not verify, and proofs of wrong encodings."""

import dataclasses

import pytest

from haulout import bcs, codec
from haulout.codec import DecodingSymbol, EncodedBlob, InconsistencyProof, RecoverySymbol, Sliver, sizes
from haulout.codec.errors import (
    NotEnoughSymbols,
    ProofMismatch,
    SliverIndexOutOfRange,
    SliverSizeMismatch,
    SymbolSizeMismatch,
    WrongTarget,
)
from haulout.codec.inconsistency import NotInconsistent, WrongSymbolCount
from haulout.codec.metadata import SymbolId
from haulout.codec.red_stuff import build_metadata
from haulout.crypto.merkle import MerkleProof
from haulout.errors import UndecodableBytes
from haulout.primitives import Axis, EncodingType

DATA = bytes(range(250))
N = 10
P, S = Axis.PRIMARY, Axis.SECONDARY


@pytest.fixture(scope="module")
def blob() -> EncodedBlob:
    return codec.encode_blob(DATA, N)


def made_from(blob: EncodedBlob, axis: Axis, source: int, target: int) -> RecoverySymbol:
    """The proven symbol of a source sliver of `axis`."""
    return codec.recovery_symbol(blob.metadata, axis, blob.sliver(axis, source), target)


def test_both_slivers_give_the_same_symbol(blob: EncodedBlob) -> None:
    for row in range(N):
        for column in range(N):
            by_row, by_column = made_from(blob, P, row, column), made_from(blob, S, column, row)
            assert by_row.data == by_column.data
            assert by_row.symbol_id == by_column.symbol_id == SymbolId(row, column)
            codec.verify_recovery_symbol(blob.metadata, by_row, column, S)
            codec.verify_recovery_symbol(blob.metadata, by_column, row, P)
            for axis, source, target in ((P, row, column), (S, column, row)):
                bare = codec.recovery_symbol(blob.metadata, axis, blob.sliver(axis, source), target, with_proof=False)
                assert bare == DecodingSymbol(axis.other, source, by_row.data)


def test_canonical_bytes_round_trip(blob: EncodedBlob) -> None:
    symbol = made_from(blob, S, 2, 5)
    raw = bcs.encode(symbol)
    assert raw.startswith(b"\x00\x02\x00" + bytes([len(symbol.data)]) + bytes(symbol.data) + b"\x05\x00\x04")
    assert bcs.decode(RecoverySymbol, raw) == symbol
    bare = DecodingSymbol(S, 3, b"ab")
    assert bcs.encode(bare) == b"\x01\x03\x00\x02ab"
    assert bcs.decode(DecodingSymbol, b"\x01\x03\x00\x02ab") == bare


def test_a_symbol_serves_either_of_its_slivers(blob: EncodedBlob) -> None:
    symbol = made_from(blob, P, 3, 8)  # made for secondary 8, lies on primary 3 as well
    codec.verify_recovery_symbol(blob.metadata, symbol, 8, S)
    codec.verify_recovery_symbol(blob.metadata, symbol, 3, P)
    for target, axis in ((3, S), (8, P), (7, S), (4, P)):
        with pytest.raises(WrongTarget):
            codec.verify_recovery_symbol(blob.metadata, symbol, target, axis)
    own_row = [made_from(blob, P, 3, column) for column in range(N)]
    assert codec.recover_sliver(own_row[3:], blob.metadata, 3, P) == blob.sliver(P, 3)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"source_index": N}, SliverIndexOutOfRange),
        ({"target_index": N}, SliverIndexOutOfRange),
        ({"data": b"\x00" * 2}, SymbolSizeMismatch),
        ({"data": b""}, SymbolSizeMismatch),
        ({"target_index": 6}, WrongTarget),
        ({"axis": S}, WrongTarget),
        ({"source_index": 3}, ProofMismatch),
        ({"data": b"\x00" * 10}, ProofMismatch),
        ({"proof": MerkleProof(())}, ProofMismatch),
        ({"proof": MerkleProof((None,) * 5)}, ProofMismatch),
    ],
)
def test_refuses_symbols_that_lie(blob: EncodedBlob, changes: dict[str, object], error: type[Exception]) -> None:
    symbol = dataclasses.replace(made_from(blob, S, 2, 5), **changes)  # type: ignore[arg-type]
    with pytest.raises(error):
        codec.verify_recovery_symbol(blob.metadata, symbol, 5, P)
    honest = [made_from(blob, S, source, 5) for source in range(N)]
    with pytest.raises(error):
        codec.verify_recovery_symbols(blob.metadata, [*honest, symbol], 5, P)
    codec.verify_recovery_symbols(blob.metadata, honest, 5, P)
    codec.verify_recovery_symbols(blob.metadata, [], 5, P)


def test_an_empty_hash_in_the_metadata_proves_nothing(blob: EncodedBlob) -> None:
    pairs = [dataclasses.replace(pair, secondary=None) for pair in blob.metadata.pairs]
    empty = dataclasses.replace(blob.metadata, pairs=tuple(pairs))
    with pytest.raises(ProofMismatch):
        codec.verify_recovery_symbol(empty, made_from(blob, S, 2, 5), 5, P)


@pytest.mark.parametrize("axis", Axis)
@pytest.mark.parametrize("with_proof", [True, False])
def test_every_sliver_comes_back(blob: EncodedBlob, axis: Axis, with_proof: bool) -> None:
    needed = sizes.n_sliver_symbols(axis, N)
    for target in range(N):
        symbols = [
            codec.recovery_symbol(
                blob.metadata, axis.other, blob.sliver(axis.other, source), target, with_proof=with_proof
            )
            for source in range(N)
        ]
        for used in (symbols, symbols[-needed:], symbols[::-1][:needed], symbols[1 : needed + 1]):
            sliver = codec.recover_sliver(used, blob.metadata, target, axis)
            assert sliver == blob.sliver(axis, target)
            codec.verify_sliver(blob.metadata, axis, sliver)


def test_useless_symbols_do_not_count(blob: EncodedBlob) -> None:
    good = [made_from(blob, S, source, 5) for source in range(7)]
    junk = [
        good[0],
        dataclasses.replace(good[1], data=b"short"),
        made_from(blob, S, 8, 6),  # another target
        DecodingSymbol(S, 9, good[0].data),  # another axis
        DecodingSymbol(P, N, good[0].data),  # no such source
    ]
    assert codec.recover_sliver(junk + good, blob.metadata, 5, P) == blob.sliver(P, 5)
    with pytest.raises(NotEnoughSymbols) as caught:
        codec.recover_sliver(junk + good[:6], blob.metadata, 5, P)
    assert (caught.value.got, caught.value.needed, caught.value.target_index) == (6, 7, 5)


def test_refuses_targets_and_slivers_that_are_not(blob: EncodedBlob) -> None:
    with pytest.raises(SliverIndexOutOfRange):
        codec.recover_sliver([], blob.metadata, N, P)
    with pytest.raises(SliverIndexOutOfRange):
        codec.recovery_symbol(blob.metadata, P, blob.sliver(P, 0), N)
    with pytest.raises(SliverIndexOutOfRange):
        codec.recovery_symbol(blob.metadata, P, Sliver(b"", 2, N), 0)
    with pytest.raises(SliverSizeMismatch):
        codec.recovery_symbol(blob.metadata, P, blob.sliver(S, 0), 0)


@pytest.fixture(scope="module")
def liar(blob: EncodedBlob) -> EncodedBlob:
    """A blob whose writer commits to a secondary sliver that is not what the rows say."""
    other = codec.encode_blob(DATA[::-1], N)
    hashes = {axis: [blob.metadata.sliver_hash(axis, i) or b"" for i in range(N)] for axis in Axis}
    hashes[S][8] = other.metadata.sliver_hash(S, 8) or b""
    metadata = build_metadata(EncodingType.RS2, len(DATA), hashes[P], hashes[S])
    return EncodedBlob(metadata.blob_id(), metadata, blob.buffers)


class TestInconsistency:
    def test_is_proven_and_the_proof_travels(self, liar: EncodedBlob) -> None:
        symbols = [made_from(liar, P, source, 8) for source in range(N)]
        proof = codec.build_inconsistency_proof(liar.metadata, symbols[3:], 8, S)
        assert len(proof.symbols) == 4
        assert bcs.decode(InconsistencyProof, bcs.encode(proof)) == proof
        codec.verify_inconsistency_proof(liar.metadata, S, proof)

    def test_an_honest_blob_cannot_be_proven_wrong(self, blob: EncodedBlob) -> None:
        symbols = [made_from(blob, P, source, 8) for source in range(4)]
        proof = codec.build_inconsistency_proof(blob.metadata, symbols, 8, S)
        with pytest.raises(NotInconsistent):
            codec.verify_inconsistency_proof(blob.metadata, S, proof)
        lie = dataclasses.replace(proof.symbols[0], data=bytes(len(proof.symbols[0].data)))
        with pytest.raises(ProofMismatch):
            forged = InconsistencyProof(8, (lie, *proof.symbols[1:]))
            codec.verify_inconsistency_proof(blob.metadata, S, forged)

    def test_the_count_is_exact_and_all_are_distinct(self, liar: EncodedBlob) -> None:
        symbols = [made_from(liar, P, source, 8) for source in range(5)]
        proof = codec.build_inconsistency_proof(liar.metadata, symbols, 8, S)
        for count in (3, 5):
            wrong = InconsistencyProof(8, (*proof.symbols, proof.symbols[0])[:count])
            with pytest.raises(WrongSymbolCount):
                codec.verify_inconsistency_proof(liar.metadata, S, wrong)
        with pytest.raises(NotEnoughSymbols):
            doubled = InconsistencyProof(8, (*proof.symbols[:3], proof.symbols[0]))
            codec.verify_inconsistency_proof(liar.metadata, S, doubled)
        with pytest.raises(NotEnoughSymbols):
            codec.build_inconsistency_proof(liar.metadata, [symbols[0]] * 4, 8, S)


def test_a_view_of_a_sliver_is_what_decoding_gives_and_refuses_what_decoding_refuses() -> None:
    for size in (2, 126, 130, 70_000):
        sliver = Sliver(bytes(i % 251 for i in range(size)), 2, 7)
        raw = bcs.encode(sliver)
        for buffer in (raw, bytearray(raw), memoryview(raw)):
            viewed = Sliver.view(buffer)
            assert isinstance(viewed.data, memoryview)
            assert dataclasses.replace(viewed, data=bytes(viewed.data)) == bcs.decode(Sliver, raw) == sliver
        no_symbols = raw[:-4] + bytes(2) + raw[-2:]
        for broken in (raw[:-1], raw + b"\0", raw[1:], b"", b"\xff" * 9, b"\x80\x00" + raw[1:], no_symbols):
            with pytest.raises(UndecodableBytes) as decoded:
                bcs.decode(Sliver, broken)
            with pytest.raises(UndecodableBytes) as refused:
                Sliver.view(broken)
            assert str(refused.value) == str(decoded.value)
