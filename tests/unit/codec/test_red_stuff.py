"""Encoding and decoding: the worked example, caller's buffers, refusals, and every check that must fail."""

import mmap
from pathlib import Path

import pytest

from haulout import bcs, codec
from haulout.codec import ConsistencyCheck, EncodedBlob, Sliver, SliverBuffers, sizes
from haulout.codec.errors import (
    BufferSizeMismatch,
    InconsistentBlob,
    MetadataMismatch,
    NotEnoughSlivers,
    PairCountMismatch,
    ShardCountOutOfRange,
    SliverHashMismatch,
    SliverIndexOutOfRange,
    SliverSizeMismatch,
    SymbolSizeMismatch,
    UnsupportedEncodingType,
)
from haulout.codec.metadata import BlobMetadata, BlobMetadataWithId
from haulout.codec.red_stuff import build_metadata
from haulout.errors import BlobTooLarge, Corrupt, InvalidField, UndecodableBytes
from haulout.primitives import Axis, BlobId, EncodingType, blob_id_text

DATA = bytes(range(250))
N = 10
P, S = Axis.PRIMARY, Axis.SECONDARY


@pytest.mark.parametrize("encoding", EncodingType)
def test_encodings_have_names_and_codes(encoding: EncodingType) -> None:
    wanted = codec.compute_blob_id(DATA, N, encoding=encoding)
    for said in (encoding.name, encoding.name.lower(), int(encoding)):
        assert codec.compute_blob_id(DATA, N, encoding=said) == wanted
        assert codec.encode_blob(DATA, N, encoding=said).blob_id == wanted[0]


def test_refuses_encodings_that_there_are_not() -> None:
    with pytest.raises(UnsupportedEncodingType):
        codec.encode_blob(DATA, N, encoding=0)
    with pytest.raises(InvalidField, match="'RS3' is not an encoding"):
        codec.compute_blob_id(DATA, N, encoding="RS3")


@pytest.fixture(scope="module")
def blob() -> EncodedBlob:
    return codec.encode_blob(DATA, N)


def slivers(blob: EncodedBlob, axis: Axis, *indices: int) -> list[Sliver]:
    return [blob.sliver(axis, index) for index in indices or range(blob.metadata.n_shards)]


def spoilt(sliver: Sliver, at: int = 0) -> Sliver:
    data = bytearray(sliver.data)
    data[at] ^= 1
    return Sliver(bytes(data), sliver.symbol_size_bytes, sliver.index)


def test_the_worked_example() -> None:
    blob = codec.encode_blob(bytes.fromhex("078a12951da028ab33b63ec1"), 4)
    assert [bytes(blob.sliver(P, i).data).hex() for i in range(4)] == [
        "078a12951da0",
        "28ab33b63ec1",
        "0fb183ade428",
        "2090a28ec749",
    ]
    assert [bytes(blob.sliver(S, i).data).hex() for i in range(4)] == ["078a28ab", "129533b6", "1da03ec1", "08bf25dc"]
    assert blob.pair(0).primary.index == 0 and blob.pair(0).secondary.index == 3
    assert blob_id_text(blob.blob_id) == "Tx9PXeBqR7NDCXs2AWvSRsIaOtY-JWp6lmYNFkebbQA"


def test_slivers_are_views_into_the_callers_buffers(blob: EncodedBlob) -> None:
    out = SliverBuffers.allocate(len(DATA), N)
    for buffer in (out.primary, out.secondary):
        buffer[:] = b"\xee" * len(buffer)  # what was there before does not matter
    again = codec.encode_blob(DATA, N, out=out)
    assert again.blob_id == blob.blob_id
    assert bytes(out.primary) == bytes(blob.buffers.primary)
    assert bytes(out.secondary) == bytes(blob.buffers.secondary)
    out.primary[0] ^= 0xFF
    assert again.sliver_data(P, 0)[0] == DATA[0] ^ 0xFF


def test_encodes_into_a_map_of_a_file(blob: EncodedBlob, tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    lengths = [sizes.slivers_size_bytes(axis, len(DATA), N) for axis in Axis]
    spill.write_bytes(bytes(sum(lengths)))
    with spill.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        with memoryview(mapped) as view, view[: lengths[0]] as primary, view[lengths[0] :] as secondary:
            again = codec.encode_blob(DATA, N, out=SliverBuffers(primary, secondary))
            assert again.blob_id == blob.blob_id
            del again
        mapped.flush()
    assert spill.read_bytes() == bytes(blob.buffers.primary) + bytes(blob.buffers.secondary)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_takes_any_buffer(blob: EncodedBlob, kind: type) -> None:
    assert codec.encode_blob(kind(DATA), N).blob_id == blob.blob_id
    assert codec.compute_blob_id(kind(DATA), N) == (blob.blob_id, blob.metadata)


def test_refuses_buffers_of_another_size() -> None:
    out = SliverBuffers.allocate(len(DATA), N)
    for wrong in (
        SliverBuffers(bytearray(len(out.primary) - 1), out.secondary),
        SliverBuffers(out.primary, bytearray(len(out.secondary) + 1)),
    ):
        with pytest.raises(BufferSizeMismatch):
            codec.encode_blob(DATA, N, out=wrong)


@pytest.mark.parametrize("n_shards", [0, 1, 2, 3, 1001])
def test_refuses_networks_that_cannot_code(n_shards: int) -> None:
    with pytest.raises(ShardCountOutOfRange):
        codec.encode_blob(DATA, n_shards)


def test_refuses_a_blob_beyond_the_limit() -> None:
    with pytest.raises(BlobTooLarge):
        codec.encode_blob(bytes(393_205), 4)
    codec.encode_blob(bytes(393_204), 4)


class TestMetadata:
    def test_is_that_of_its_blob_only(self, blob: EncodedBlob) -> None:
        codec.verify_metadata(blob.metadata, blob.blob_id, N)
        with pytest.raises(MetadataMismatch) as caught:
            codec.verify_metadata(blob.metadata, BlobId(bytes(32)), N)
        assert caught.value.code == "INVALID_METADATA"
        assert caught.value.computed_blob_id == blob_id_text(blob.blob_id)

    def test_has_a_pair_per_shard(self, blob: EncodedBlob) -> None:
        with pytest.raises(PairCountMismatch):
            codec.verify_metadata(blob.metadata, blob.blob_id, N + 1)

    def test_has_a_length_that_a_blob_can_have(self, blob: EncodedBlob) -> None:
        longer = BlobMetadata(0, EncodingType.RS2, 1 << 40, blob.metadata.pairs)
        with pytest.raises(BlobTooLarge):
            codec.verify_metadata(longer, longer.blob_id(), N)

    def test_of_another_encoding_is_no_matrix(self, blob: EncodedBlob) -> None:
        other = BlobMetadata(0, EncodingType.RS8, len(DATA), blob.metadata.pairs)
        with pytest.raises(UnsupportedEncodingType):
            codec.recovery_symbol(other, P, blob.sliver(P, 0), 0)

    def test_every_hash_counts(self, blob: EncodedBlob) -> None:
        primary = [blob.metadata.sliver_hash(P, i) or b"" for i in range(N)]
        secondary = [blob.metadata.sliver_hash(S, i) or b"" for i in range(N)]
        assert build_metadata(EncodingType.RS2, len(DATA), primary, secondary) == blob.metadata
        secondary[N - 1] = bytes(32)
        changed = build_metadata(EncodingType.RS2, len(DATA), primary, secondary)
        assert changed.pairs[0].secondary == bytes(32)
        assert changed.blob_id() != blob.blob_id

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda raw: raw[:-1],
            lambda raw: raw + b"\x00",
            lambda raw: b"\x01" + raw[1:],  # version
            lambda raw: raw[:1] + b"\x00" + raw[2:],  # RaptorQ
            lambda raw: raw[:1] + b"\x02" + raw[2:],
            lambda raw: raw[:11] + b"\x02" + raw[12:],  # a node that is neither empty nor a digest
            lambda raw: b"",
        ],
    )
    def test_damaged_bytes_do_not_decode(self, blob: EncodedBlob, spoil: object) -> None:
        with pytest.raises(UndecodableBytes):
            bcs.decode(BlobMetadata, spoil(blob.metadata.to_bcs()))  # type: ignore[operator]

    def test_with_id_is_id_and_metadata(self, blob: EncodedBlob) -> None:
        value = BlobMetadataWithId(blob.blob_id, blob.metadata)
        assert bcs.encode(value) == blob.blob_id + blob.metadata.to_bcs()
        assert bcs.decode(BlobMetadataWithId, bcs.encode(value)) == value


class TestSliver:
    @pytest.mark.parametrize("axis", Axis)
    def test_every_one_verifies_and_no_other_in_its_place(self, blob: EncodedBlob, axis: Axis) -> None:
        codec.verify_slivers(blob.metadata, axis, slivers(blob, axis))
        codec.verify_slivers(blob.metadata, axis, [])
        for index in range(N):
            sliver = blob.sliver(axis, index)
            codec.verify_sliver(blob.metadata, axis, sliver)
            moved = Sliver(sliver.data, sliver.symbol_size_bytes, (index + 1) % N)
            for wrong in (moved, spoilt(sliver), spoilt(sliver, len(sliver.data) - 1)):
                with pytest.raises(SliverHashMismatch) as caught:
                    codec.verify_sliver(blob.metadata, axis, wrong)
                assert caught.value.index == wrong.index
                assert isinstance(caught.value, Corrupt)

    def test_names_the_first_bad_one_of_many(self, blob: EncodedBlob) -> None:
        many = slivers(blob, P)
        many[4] = spoilt(many[4])
        many[7] = spoilt(many[7])
        with pytest.raises(SliverHashMismatch) as caught:
            codec.verify_slivers(blob.metadata, P, many)
        assert caught.value.index == 4

    def test_shape_is_checked_in_order(self, blob: EncodedBlob) -> None:
        good = blob.sliver(P, 0)
        size = good.symbol_size_bytes
        with pytest.raises(SliverIndexOutOfRange) as index:
            codec.verify_sliver(blob.metadata, P, Sliver(b"", 1, N))
        assert (index.value.code, index.value.index, index.value.limit) == ("INDEX_OUT_OF_RANGE", N, N)
        for data in (bytes(good.data)[:-1], bytes(good.data) + b"\x00", b"", bytes(blob.sliver(S, 0).data)):
            with pytest.raises(SliverSizeMismatch) as length:
                codec.verify_sliver(blob.metadata, P, Sliver(data, 1, 0))
            assert (length.value.code, length.value.size_bytes) == ("INVALID_SLIVER", len(data))
        with pytest.raises(SymbolSizeMismatch) as symbol:
            codec.verify_sliver(blob.metadata, P, Sliver(good.data, size + 2, 0))
        assert (symbol.value.size_bytes, symbol.value.expected_bytes) == (size + 2, size)

    def test_without_symbol_size_does_not_decode(self) -> None:
        with pytest.raises(UndecodableBytes):
            bcs.decode(Sliver, b"\x01\x07\x00\x00\x00\x00")


class TestDecoding:
    @pytest.mark.parametrize("check", ConsistencyCheck)
    @pytest.mark.parametrize("axis", Axis)
    @pytest.mark.parametrize("verified", [True, False])
    def test_from_the_last_slivers(
        self, blob: EncodedBlob, axis: Axis, check: ConsistencyCheck, verified: bool
    ) -> None:
        needed = sizes.n_source_symbols(axis, N)
        for used in (slivers(blob, axis), slivers(blob, axis)[-needed:], slivers(blob, axis)[2 : needed + 2]):
            found = codec.decode_blob(blob.metadata, used, axis, check=check, verified=verified)
            assert bytes(found) == DATA

    @pytest.mark.parametrize("axis", Axis)
    def test_drops_what_does_not_fit(self, blob: EncodedBlob, axis: Axis) -> None:
        needed = sizes.n_source_symbols(axis, N)
        good = slivers(blob, axis)[:needed]
        size = good[0].symbol_size_bytes
        junk = [
            Sliver(good[0].data, size, N),  # no such index
            Sliver(bytes(good[0].data) + b"\x00", size, N - 1),
            Sliver(good[0].data, size + 2, N - 1),
            good[0],  # a duplicate
        ]
        assert bytes(codec.decode_blob(blob.metadata, junk + good, axis)) == DATA
        with pytest.raises(NotEnoughSlivers) as caught:
            codec.decode_blob(blob.metadata, junk + good[:-1], axis)
        assert (caught.value.got, caught.value.needed, caught.value.axis) == (needed - 1, needed, axis.name.lower())

    def test_into_the_callers_buffer(self, blob: EncodedBlob) -> None:
        padded = codec.padded_size_bytes(blob.metadata)
        out = bytearray(b"\xee" * (padded + 5))
        found = codec.decode_blob(blob.metadata, slivers(blob, P)[-4:], P, out=out)
        assert bytes(found) == DATA == bytes(out[: len(DATA)])
        assert out[padded:] == b"\xee" * 5
        with pytest.raises(BufferSizeMismatch):
            codec.decode_blob(blob.metadata, slivers(blob, P), P, out=bytearray(padded - 1))

    @pytest.mark.parametrize("axis", Axis)
    @pytest.mark.parametrize("check", [ConsistencyCheck.DEFAULT, ConsistencyCheck.STRICT])
    def test_a_spoilt_sliver_fails_the_check(self, blob: EncodedBlob, axis: Axis, check: ConsistencyCheck) -> None:
        needed = sizes.n_source_symbols(axis, N)
        used = slivers(blob, axis)[-needed:]
        used[1] = spoilt(used[1])
        with pytest.raises(InconsistentBlob) as inconsistent:
            codec.decode_blob(blob.metadata, used, axis, check=check, verified=True)  # which is not so
        assert (inconsistent.value.blob_id, inconsistent.value.check) == (blob_id_text(blob.blob_id), check.value)
        with pytest.raises(NotEnoughSlivers) as caught:
            codec.decode_blob(blob.metadata, used, axis, check=check)
        assert (caught.value.got, caught.value.needed) == (needed - 1, needed)
        found = codec.decode_blob(blob.metadata, used, axis, check=ConsistencyCheck.SKIP)
        assert bytes(found) != DATA

    @pytest.mark.parametrize("encoding", EncodingType)
    @pytest.mark.parametrize("axis", Axis)
    @pytest.mark.parametrize("check", [ConsistencyCheck.DEFAULT, ConsistencyCheck.STRICT])
    def test_does_without_a_spoilt_sliver_when_enough_others_are_there(
        self, encoding: EncodingType, axis: Axis, check: ConsistencyCheck
    ) -> None:
        blob, foreign = (
            codec.encode_blob(DATA, N, encoding=encoding),
            codec.encode_blob(DATA[::-1], N, encoding=encoding),
        )
        needed = sizes.n_source_symbols(axis, N)
        for bad in (spoilt(blob.sliver(axis, 1)), foreign.sliver(axis, 1)):
            some = [bad, *slivers(blob, axis)[2 : needed + 2]]
            assert bytes(codec.decode_blob(blob.metadata, iter(some), axis, check=check)) == DATA
            some = [bad, *slivers(blob, axis)[1 : needed + 1]]  # the bad one comes before the good one of its index
            assert bytes(codec.decode_blob(blob.metadata, some, axis, check=check)) == DATA

    def test_padding_that_is_not_zero_fails_both_checks(self) -> None:
        shorter = DATA[:-7]
        padded = codec.encode_blob(DATA, N)
        liar = BlobMetadata(0, EncodingType.RS2, len(shorter), padded.metadata.pairs)
        assert liar.symbol_size_bytes == padded.metadata.symbol_size_bytes
        for check in (ConsistencyCheck.DEFAULT, ConsistencyCheck.STRICT):
            for axis in Axis:
                codec.verify_slivers(liar, axis, slivers(padded, axis))
                for verified in (True, False):
                    with pytest.raises(InconsistentBlob):
                        codec.decode_blob(liar, slivers(padded, axis), axis, check=check, verified=verified)

    def test_one_wrong_commitment_is_found_by_the_check_that_covers_it(self, blob: EncodedBlob) -> None:
        primary = [blob.metadata.sliver_hash(P, i) or b"" for i in range(N)]
        secondary = [blob.metadata.sliver_hash(S, i) or b"" for i in range(N)]
        primary[9] = bytes(32)  # not systematic: only the strict check looks at it
        liar = build_metadata(EncodingType.RS2, len(DATA), primary, secondary)
        used = slivers(blob, P)[:4]
        assert bytes(codec.decode_blob(liar, used, P)) == DATA
        with pytest.raises(InconsistentBlob):
            codec.decode_blob(liar, used, P, check=ConsistencyCheck.STRICT)

    @pytest.mark.parametrize("axis", Axis)
    def test_reencoding_gives_all_slivers(self, blob: EncodedBlob, axis: Axis) -> None:
        used = slivers(blob, axis)[-sizes.n_source_symbols(axis, N) :]
        out = SliverBuffers.allocate(len(DATA), N)
        for buffers in (None, out):
            again = codec.decode_and_reencode(blob.metadata, used, axis, out=buffers)
            assert (again.blob_id, again.metadata) == (blob.blob_id, blob.metadata)
            assert again.buffers == blob.buffers
        used[0] = spoilt(used[0])
        with pytest.raises(InconsistentBlob):
            codec.decode_and_reencode(blob.metadata, used, axis)
        with pytest.raises(NotEnoughSlivers):
            codec.decode_and_reencode(blob.metadata, used[1:], axis)


def test_wide_symbols_take_the_other_way_through_the_transform() -> None:
    data = bytes(range(256)) * 1500
    blob = codec.encode_blob(data, 4)
    assert blob.metadata.symbol_size_bytes > 2 * 16384
    for axis in Axis:
        used = slivers(blob, axis)[-sizes.n_source_symbols(axis, 4) :]
        codec.verify_slivers(blob.metadata, axis, used)
        assert codec.decode_blob(blob.metadata, used, axis) == data


def test_every_public_name_has_a_home() -> None:
    assert set(codec.__all__) == {*codec._HOMES, "sizes"}
    for name in codec.__all__:
        assert getattr(codec, name) is not None
    with pytest.raises(AttributeError):
        codec.no_such_name  # noqa: B018
