"""The codec on random blobs, networks and losses."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from haulout import codec
from haulout.codec import ConsistencyCheck, EncodedBlob, RecoverySymbol, Sliver, sizes
from haulout.codec.errors import InconsistentBlob, NotEnoughSlivers, ProofMismatch, SliverHashMismatch
from haulout.primitives import Axis

AXES = st.sampled_from(list(Axis))


@st.composite
def encoded_blobs(draw: st.DrawFn, n_max: int = 40) -> tuple[bytes, EncodedBlob]:
    """A blob whose symbols have 2 to some 200 bytes; the empty one as well."""
    n_shards = draw(st.integers(4, n_max))
    symbol_size = draw(st.sampled_from([2, 2, 4, 30, 62, 64, 66, 70, 128, 130, 200]))
    length = draw(st.integers(0, min(sizes.n_matrix_symbols(n_shards) * symbol_size, 20_000)))
    seed = draw(st.binary(min_size=1, max_size=32))
    data = (seed * (length // len(seed) + 1))[:length]
    return data, codec.encode_blob(data, n_shards)


def spoil(sliver: Sliver, at: int) -> Sliver:
    data = bytearray(sliver.data)
    data[at % len(data)] ^= 1 << at % 8
    return Sliver(bytes(data), sliver.symbol_size_bytes, sliver.index)


@given(encoded_blobs(), AXES, st.data())
def test_any_sufficient_subset_decodes(made: tuple[bytes, EncodedBlob], axis: Axis, draw: st.DataObject) -> None:
    data, blob = made
    n_shards = blob.metadata.n_shards
    order = draw.draw(st.permutations(range(n_shards)))[: sizes.n_source_symbols(axis, n_shards)]
    slivers = [blob.sliver(axis, index) for index in order]
    codec.verify_slivers(blob.metadata, axis, slivers)
    assert bytes(codec.decode_blob(blob.metadata, slivers, axis, check=ConsistencyCheck.STRICT)) == data
    assert codec.decode_and_reencode(blob.metadata, slivers, axis).buffers == blob.buffers
    assert codec.compute_blob_id(data, n_shards) == (blob.blob_id, blob.metadata)


@given(encoded_blobs(n_max=25), AXES, st.data())
def test_a_lost_sliver_is_rebuilt_from_any_sources(
    made: tuple[bytes, EncodedBlob], axis: Axis, draw: st.DataObject
) -> None:
    _, blob = made
    n_shards = blob.metadata.n_shards
    target = draw.draw(st.integers(0, n_shards - 1))
    sources = draw.draw(st.permutations(range(n_shards)))[: sizes.n_sliver_symbols(axis, n_shards)]
    with_proof = draw.draw(st.booleans())
    symbols = [
        codec.recovery_symbol(blob.metadata, axis.other, blob.sliver(axis.other, source), target, with_proof=with_proof)
        for source in sources
    ]
    for symbol in symbols:
        if isinstance(symbol, RecoverySymbol):
            codec.verify_recovery_symbol(blob.metadata, symbol, target, axis)
    assert codec.recover_sliver(symbols, blob.metadata, target, axis) == blob.sliver(axis, target)


@given(encoded_blobs(n_max=25), AXES, st.data())
def test_no_wrong_byte_goes_unnoticed(made: tuple[bytes, EncodedBlob], axis: Axis, draw: st.DataObject) -> None:
    data, blob = made
    n_shards = blob.metadata.n_shards
    order = draw.draw(st.permutations(range(n_shards)))[: sizes.n_source_symbols(axis, n_shards)]
    slivers = [blob.sliver(axis, index) for index in order]
    victim = draw.draw(st.integers(0, len(slivers) - 1))
    slivers[victim] = spoil(slivers[victim], draw.draw(st.integers(0, 1 << 16)))
    with pytest.raises(SliverHashMismatch):
        codec.verify_sliver(blob.metadata, axis, slivers[victim])
    for check in (ConsistencyCheck.DEFAULT, ConsistencyCheck.STRICT):
        try:
            found = codec.decode_blob(blob.metadata, slivers, axis, check=check)
        except (InconsistentBlob, NotEnoughSlivers):
            continue
        assert bytes(found) == data  # only the padding was hit

    target = draw.draw(st.integers(0, n_shards - 1))
    symbol = codec.recovery_symbol(blob.metadata, axis, blob.sliver(axis, order[0]), target)
    changed = bytearray(symbol.data)
    changed[0] ^= 1
    lie = RecoverySymbol(symbol.axis, symbol.source_index, bytes(changed), target, symbol.proof)
    with pytest.raises(ProofMismatch):
        codec.verify_recovery_symbol(blob.metadata, lie, target, axis.other)
