"""RS8: the code, stripes on their own, decoding from any slivers, and everything that is wrong with them."""

import dataclasses
import itertools

import numpy as np
import pytest
import reedsolo
from hypothesis import given, settings
from hypothesis import strategies as st

from haulout import bcs, codec
from haulout.codec import ConsistencyCheck, rs8, sizes, stripes
from haulout.codec.errors import (
    InconsistentBlob,
    NotEnoughSlivers,
    NotEnoughSymbols,
    ProofMismatch,
    ShardCountOutOfRange,
    SliverHashMismatch,
    SliverIndexOutOfRange,
    SliverSizeMismatch,
    StripesOutOfRange,
    SymbolSizeMismatch,
)
from haulout.codec.gf8 import MatrixCode
from haulout.codec.metadata import BlobMetadata, SliverStripes
from haulout.codec.red_stuff import EncodedBlob
from haulout.codec.rs8 import SegmentEncoder, Striping
from haulout.codec.streams import BytesSource
from haulout.crypto import merkle
from haulout.errors import BlobTooLarge
from haulout.primitives import Axis, EncodingType

P, S = Axis.PRIMARY, Axis.SECONDARY
RS8 = EncodingType.RS8
N = 7  # f = 2, k1 = 3, k2 = 5
DATA = np.random.default_rng(8).integers(0, 256, 3 * 5 * 16384 * 4 + 99_999, dtype=np.uint8).tobytes()  # five stripes


@pytest.fixture(scope="module")
def blob() -> EncodedBlob:
    return codec.encode_blob(DATA, N, encoding=RS8)


@pytest.fixture(scope="module")
def striping(blob: EncodedBlob) -> Striping:
    return rs8.striping_of_blob(blob.metadata)


def piece_of(blob: EncodedBlob, axis: Axis, index: int, wanted: range) -> SliverStripes:
    striping = rs8.striping_of_blob(blob.metadata)
    part = striping.part_bytes(axis)
    whole = blob.sliver_data(axis, index)
    roots = rs8.stripe_roots(striping, axis, rs8.as_parts(striping, axis, whole))
    data = whole[wanted.start * part : wanted.stop * part]
    proof = stripes.build_stripe_proof(roots, wanted)
    return SliverStripes(data, striping.symbol_size_bytes, index, wanted.start, proof)


class TestCode:
    @given(st.data())
    def test_is_that_of_reedsolo_symbol_by_symbol(self, data: st.DataObject) -> None:
        n = data.draw(st.integers(2, 60))
        k = data.draw(st.integers(1, n - 1))
        source = np.frombuffer(data.draw(st.binary(min_size=k * 6, max_size=k * 6)), np.uint8).reshape(k, 2, 3)
        out = np.empty((n - k, 2, 3), np.uint8)
        code = MatrixCode(k, n)
        code.encode_symbols(list(source), list(out))
        oracle = reedsolo.RSCodec(nsym=n - k, nsize=n, fcr=0, prim=0x11D, generator=2, c_exp=8)
        for word, lane in itertools.product(range(2), range(3)):
            expected = bytes(oracle.encode(source[:, word, lane].tobytes()))
            assert expected == source[:, word, lane].tobytes() + out[:, word, lane].tobytes()

        received = sorted(data.draw(st.permutations(range(n)))[:k])
        symbols = [*source, *out]
        decoder = code.decoder(received)
        found = [np.empty((2, 3), np.uint8) for _ in decoder.missing]
        decoder.decode_symbols([symbols[i] for i in received], found)
        for index, symbol in zip(decoder.missing, found, strict=True):
            assert (symbol == source[index]).all()

    def test_small_cases_can_be_checked_by_hand(self) -> None:
        assert MatrixCode(3, 4).generator.values.tolist() == [[1, 1, 1]]
        assert MatrixCode(2, 4).generator.values.tolist() == [[7, 3], [6, 2]]


class TestStripes:
    def test_segments_cover_the_stripes(self, striping: Striping) -> None:
        assert (striping.n_stripes, striping.segment_stripes) == (5, 8)
        small = dataclasses.replace(striping, n_stripes=19)
        assert [small.segment(i) for i in range(small.n_segments)] == [range(8), range(8, 16), range(16, 19)]
        assert list(rs8.segments_of(small, range(7, 17))) == [(0, range(7, 8)), (1, range(8, 16)), (2, range(16, 17))]

    def test_are_encoded_segment_by_segment_as_at_once(self, blob: EncodedBlob, striping: Striping) -> None:
        encoder = SegmentEncoder(BytesSource(DATA), striping)
        segment = encoder.encode(0)
        for axis, index in itertools.product(Axis, range(N)):
            assert segment.part(axis, index).tobytes() == blob.sliver_data(axis, index)

    @pytest.mark.parametrize("wanted", [range(5), range(1), range(1, 3), range(4, 5), range(2, 5)])
    def test_are_verified_by_themselves(self, blob: EncodedBlob, wanted: range) -> None:
        for axis, index in ((P, 0), (P, 6), (S, 2), (S, 6)):
            piece = piece_of(blob, axis, index, wanted)
            assert bcs.decode(SliverStripes, bcs.encode(piece)) == dataclasses.replace(piece, data=bytes(piece.data))
            assert len(stripes.verify_stripes(blob.metadata, axis, piece)) == len(wanted)

    def test_are_cut_out_of_a_piece_with_their_proof(self, blob: EncodedBlob, striping: Striping) -> None:
        for first, stop in itertools.combinations(range(6), 2):
            piece = piece_of(blob, P, 4, range(first, stop))
            leaves = stripes.leaves_of(stripes.verify_stripes(blob.metadata, P, piece))
            for start, end in itertools.combinations(range(first, stop + 1), 2):
                cut = stripes.cut_stripes(striping, P, piece, leaves, range(start, end))
                assert cut == piece_of(blob, P, 4, range(start, end))

    def test_that_are_wrong_are_refused(self, blob: EncodedBlob, striping: Striping) -> None:
        good = piece_of(blob, P, 1, range(1, 3))
        flipped = bytearray(good.data)
        flipped[-1] ^= 1
        part = striping.part_bytes(P)
        for wrong, error in [
            (dataclasses.replace(good, data=flipped), SliverHashMismatch),
            (dataclasses.replace(good, index=2), SliverHashMismatch),
            (dataclasses.replace(good, first_stripe=2), SliverHashMismatch),
            (dataclasses.replace(good, proof=good.proof[:-1]), SliverHashMismatch),
            (dataclasses.replace(good, proof=(*good.proof, bytes(32))), SliverHashMismatch),
            (dataclasses.replace(good, proof=(bytes(32), *good.proof[1:])), SliverHashMismatch),
            (dataclasses.replace(good, index=N), SliverIndexOutOfRange),
            (dataclasses.replace(good, first_stripe=4), StripesOutOfRange),
            (dataclasses.replace(good, symbol_size_bytes=2), SymbolSizeMismatch),
            (dataclasses.replace(good, data=good.data[:-1]), SliverSizeMismatch),
            (dataclasses.replace(good, data=b""), SliverSizeMismatch),
            (dataclasses.replace(good, data=good.data[:part]), SliverHashMismatch),
        ]:
            with pytest.raises(error):
                stripes.verify_stripes(blob.metadata, P, wrong)

    @pytest.mark.parametrize(("axis", "chosen"), [(P, (0, 1, 2)), (P, (4, 5, 6)), (P, (0, 3, 6)), (S, (6, 5, 4, 1, 2))])
    def test_are_decoded_by_themselves(
        self, blob: EncodedBlob, striping: Striping, axis: Axis, chosen: tuple[int, ...]
    ) -> None:
        wanted = range(3, 5)
        pieces = [piece_of(blob, axis, index, wanted) for index in chosen]
        wrong = dataclasses.replace(pieces[0], first_stripe=0)
        found = stripes.decode_stripes(blob.metadata, [wrong, *pieces, pieces[0]], axis, wanted)
        start = wanted.start * striping.stripe_bytes
        assert found.tobytes()[: len(DATA) - start] == DATA[start:]
        assert not any(found.tobytes()[len(DATA) - start :])
        with pytest.raises(NotEnoughSlivers):
            stripes.decode_stripes(blob.metadata, [wrong, *pieces[1:], pieces[1]], axis, wanted)

    def test_symbols_of_a_stripe_rebuild_it(self, blob: EncodedBlob, striping: Striping) -> None:
        for axis, target in ((P, 6), (S, 5), (P, 0)):
            symbols = []
            for source in range(N):
                piece = piece_of(blob, axis.other, source, range(2, 4))
                leaves = stripes.leaves_of(stripes.verify_stripes(blob.metadata, axis.other, piece))
                symbol = stripes.recovery_symbol(blob.metadata, axis.other, piece, leaves, 3, target)
                stripes.verify_recovery_symbol(blob.metadata, symbol, 3)
                with pytest.raises(ProofMismatch):
                    stripes.verify_recovery_symbol(blob.metadata, symbol, 2)
                with pytest.raises(ProofMismatch):
                    flipped = dataclasses.replace(symbol, data=bytes(len(symbol.data)))
                    stripes.verify_recovery_symbol(blob.metadata, flipped, 3)
                with pytest.raises(StripesOutOfRange):
                    stripes.verify_recovery_symbol(blob.metadata, symbol, 5)
                symbols.append(symbol)
            needed = sizes.n_sliver_symbols(axis, N)
            part = striping.part_bytes(axis)
            expected = blob.sliver_data(axis, target)[3 * part : 4 * part]
            assert stripes.recover_stripe(blob.metadata, symbols[-needed:], target, axis).tobytes() == expected
            with pytest.raises(NotEnoughSymbols):
                stripes.recover_stripe(blob.metadata, symbols[: needed - 1], target, axis)


class TestWholeBlob:
    @settings(max_examples=settings.default.max_examples // 2)
    @given(st.integers(4, 30), st.integers(0, 30_000), st.integers(0, 1 << 32), st.data())
    def test_any_slivers_decode(self, n: int, length: int, seed: int, data: st.DataObject) -> None:
        content = np.random.default_rng(seed).integers(0, 256, length, dtype=np.uint8).tobytes()
        encoded = codec.encode_blob(content, n, encoding=RS8)
        axis = data.draw(st.sampled_from(list(Axis)))
        chosen = data.draw(st.permutations(range(n)))[: sizes.n_source_symbols(axis, n)]
        slivers = [encoded.sliver(axis, index) for index in chosen]
        codec.verify_metadata(encoded.metadata, encoded.blob_id, n)
        codec.verify_slivers(encoded.metadata, axis, slivers)
        for check in ConsistencyCheck:
            assert codec.decode_blob(encoded.metadata, slivers, axis, check=check) == content
        assert codec.decode_and_reencode(encoded.metadata, slivers, axis) == encoded

    def test_a_flipped_sliver_is_found(self, blob: EncodedBlob) -> None:
        sliver = blob.sliver(P, 3)
        flipped = bytearray(sliver.data)
        flipped[100_000] ^= 4
        codec.verify_sliver(blob.metadata, P, sliver)
        with pytest.raises(SliverHashMismatch):
            codec.verify_sliver(blob.metadata, P, dataclasses.replace(sliver, data=flipped))
        with pytest.raises(SliverSizeMismatch):
            codec.verify_sliver(blob.metadata, P, dataclasses.replace(sliver, data=flipped[:-1]))
        with pytest.raises(NotEnoughSlivers):
            slivers = [dataclasses.replace(sliver, data=flipped), blob.sliver(P, 4), blob.sliver(P, 5)]
            codec.decode_blob(blob.metadata, slivers, P)

    def test_shards_beyond_a_byte_are_refused(self) -> None:
        with pytest.raises(ShardCountOutOfRange):
            codec.encode_blob(b"", 256, encoding=RS8)
        with pytest.raises(ShardCountOutOfRange):
            codec.compute_blob_id(b"", 3, encoding=RS8)

    def test_padding_that_is_not_zero_makes_an_inconsistent_blob(self, blob: EncodedBlob) -> None:
        shorter = BlobMetadata(0, RS8, len(DATA) - 3, blob.metadata.pairs)  # what was data would be padding
        assert shorter.symbol_size_bytes == blob.metadata.symbol_size_bytes
        slivers = [blob.sliver(P, index) for index in range(3)]
        for check in (ConsistencyCheck.DEFAULT, ConsistencyCheck.STRICT):
            with pytest.raises(InconsistentBlob):
                codec.decode_blob(shorter, slivers, P, check=check, verified=True)


class TestRowCheck:
    def pieces(self, blob: EncodedBlob, chosen: tuple[int, ...], wanted: range) -> list[SliverStripes]:
        return [piece_of(blob, P, index, wanted) for index in chosen]

    @pytest.mark.parametrize("chosen", [(0, 1, 2), (0, 4, 5)])
    def test_accepts_what_was_encoded_well(self, blob: EncodedBlob, chosen: tuple[int, ...]) -> None:
        check = stripes.RowCheck(blob.metadata)
        for wanted in (range(2), range(2, 5)):
            pieces = self.pieces(blob, chosen, wanted)
            verified = {piece.index: stripes.verify_stripes(blob.metadata, P, piece) for piece in pieces}
            check.add(wanted, stripes.decode_stripes(blob.metadata, pieces, P, wanted), verified)
        check.finish()

    def test_finds_a_matrix_that_is_no_code_word(self, blob: EncodedBlob, striping: Striping) -> None:
        """The writer commits to another row 5 than the code gives: whoever decodes from it must notice."""
        wrong = bytearray(blob.sliver_data(P, 5))
        wrong[striping.part_bytes(P)] ^= 1  # in stripe 1
        roots = rs8.stripe_roots(striping, P, rs8.as_parts(striping, P, wrong))
        hashes = [blob.metadata.sliver_hash(P, i) or b"" for i in range(N)]
        hashes[5] = rs8.sliver_hashes(roots).tobytes()
        secondary = [blob.metadata.sliver_hash(S, i) or b"" for i in range(N)]
        liar = rs8.build_metadata(RS8, len(DATA), hashes, secondary)
        part = striping.part_bytes(P)
        check = stripes.RowCheck(liar)
        for stripe in range(5):
            wanted = range(stripe, stripe + 1)
            proof = stripes.build_stripe_proof(roots, wanted)
            data = wrong[stripe * part : (stripe + 1) * part]
            pieces = [
                *self.pieces(blob, (0, 1), wanted),
                SliverStripes(data, striping.symbol_size_bytes, 5, stripe, proof),
            ]
            verified = {piece.index: stripes.verify_stripes(liar, P, piece) for piece in pieces}
            check.add(wanted, stripes.decode_stripes(liar, pieces, P, wanted), verified)
        with pytest.raises(InconsistentBlob):
            check.finish()


class TestChoice:
    def test_is_the_first_encoding_that_holds_the_blob(self) -> None:
        assert sizes.choose_encoding(1_834_952, 10) is EncodingType.RS2
        assert sizes.choose_encoding(1_834_953, 10) is RS8
        assert sizes.choose_encoding(0, 10, RS8) is RS8
        assert sizes.choose_encoding(1_834_953, 10, EncodingType.RS2) is EncodingType.RS2
        with pytest.raises(BlobTooLarge) as caught:
            sizes.choose_encoding(sizes.max_blob_size_bytes(300) + 1, 300)
        assert caught.value.limit_bytes == sizes.max_blob_size_bytes(300)

    def test_the_limit_is_the_networks_or_that_of_rs2(self) -> None:
        assert sizes.max_network_blob_bytes(10, 16 << 30) == 16 << 30
        assert sizes.max_network_blob_bytes(300, 16 << 30) == sizes.max_blob_size_bytes(300)
        assert sizes.max_network_blob_bytes(10, 16 << 30, EncodingType.RS2) == 1_834_952
        assert sizes.max_network_blob_bytes(10, 1_000_000, EncodingType.RS2) == 1_000_000
        assert sizes.encodings_of(10) == (EncodingType.RS2, RS8)
        assert sizes.encodings_of(256) == (EncodingType.RS2,)

    @pytest.mark.parametrize(("named", "limit"), [(None, 2_000_000), (RS8, 2_000_000), (EncodingType.RS2, 1_834_952)])
    def test_refuses_one_byte_more_than_the_limit_that_it_names(self, named: EncodingType | None, limit: int) -> None:
        sizes.check_blob_size(limit, 10, 2_000_000, named)
        with pytest.raises(BlobTooLarge) as caught:
            sizes.check_blob_size(limit + 1, 10, 2_000_000, named)
        assert caught.value.limit_bytes == limit


def test_the_leaves_of_a_range_are_in_the_tree_of_all() -> None:
    from haulout.crypto.merkle_range import build_range_proof, compute_root_of_range
    from haulout.errors import InvalidField

    for n in range(1, 20):
        leaves = [merkle.hash_leaf(bytes([i])) for i in range(n)]
        root = merkle.compute_root(leaves)
        for start, stop in itertools.combinations(range(n + 1), 2):
            proof = build_range_proof(leaves, start, stop)
            assert compute_root_of_range(leaves[start:stop], start, proof, n) == root
            with pytest.raises(InvalidField):
                compute_root_of_range(leaves[start:stop], start, (*proof, bytes(32)), n)
            if proof:
                with pytest.raises(InvalidField):
                    compute_root_of_range(leaves[start:stop], start, proof[:-1], n)
        with pytest.raises(InvalidField):
            compute_root_of_range(leaves, 1, (), n)
