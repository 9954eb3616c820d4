"""Proofs of wrongly encoded blobs in stripes: both axes, one stripe and many, and what does not pass for one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from haulout import codec
from haulout.codec import EncodedBlob, SliverPairHashes, SliverStripes, rs8, sizes, striped_inconsistency
from haulout.codec.errors import ProofMismatch, SliverIndexOutOfRange
from haulout.codec.inconsistency import NotInconsistent, WrongSymbolCount
from haulout.codec.striped_inconsistency import StripedProofCheck, StripeSurvey, prove_stripes, shape_of_proof
from haulout.errors import InvalidField
from haulout.primitives import Axis, EncodingType

N_SHARDS, ROWS, COLUMNS = 10, 4, 7
RS8 = EncodingType.RS8
SYMBOL = 16
STRIPE = ROWS * COLUMNS * SYMBOL
PRIMARY, SECONDARY = Axis.PRIMARY, Axis.SECONDARY


@pytest.fixture(scope="module", autouse=True)
def small_stripes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "RS8_SYMBOL_BYTES_MAX", SYMBOL)
        yield


def encode(size_bytes: int, seed: int) -> EncodedBlob:
    data = np.random.default_rng(seed).integers(0, 256, size_bytes, dtype=np.uint8).tobytes()
    return codec.encode_blob(data, N_SHARDS, encoding=RS8)


def with_foreign(size_bytes: int, axis: Axis, index: int) -> EncodedBlob:
    """A right blob but for one sliver, which is that of another blob."""
    right, other = encode(size_bytes, 1), encode(size_bytes, 2)
    pairs = list(right.metadata.pairs)
    pair = index if axis is PRIMARY else N_SHARDS - 1 - index
    foreign = other.metadata.pairs[pair]
    pairs[pair] = (
        SliverPairHashes(foreign.primary, pairs[pair].secondary)
        if axis is PRIMARY
        else SliverPairHashes(pairs[pair].primary, foreign.secondary)
    )
    metadata = replace(right.metadata, pairs=tuple(pairs))
    return EncodedBlob(metadata.blob_id(), metadata, right.buffers)


def pieces_of(blob: EncodedBlob, rows: list[int], stripes: range) -> list[SliverStripes]:
    striping = rs8.striping_of_blob(blob.metadata)
    size = striping.part_bytes(PRIMARY)
    return [
        SliverStripes(
            blob.sliver_data(PRIMARY, row)[stripes.start * size : stripes.stop * size],
            striping.symbol_size_bytes,
            row,
            stripes.start,
            (),
        )
        for row in rows
    ]


def proof_of(blob: EncodedBlob, axis: Axis, target: int, rows: list[int], *, step: int = 3) -> tuple[bytes, bytes]:
    """Head and stripes of a proof, made some stripes at a time."""
    n_stripes = rs8.striping_of_blob(blob.metadata).n_stripes
    head = striped_inconsistency.write_head(target, rows if axis is SECONDARY else range(COLUMNS))
    parts = [range(start, min(start + step, n_stripes)) for start in range(0, n_stripes, step)]
    return head, b"".join(
        prove_stripes(blob.metadata, axis, target, pieces_of(blob, rows, part), part) for part in parts
    )


def check(blob: EncodedBlob, axis: Axis, proof: tuple[bytes, bytes]) -> None:
    checking = StripedProofCheck(blob.metadata, axis, proof[0])
    checking.add(proof[1])
    checking.finish()


def survey(blob: EncodedBlob, rows: list[int]) -> tuple[Axis, int] | None:
    found = StripeSurvey(blob.metadata)
    for stripe in range(rs8.striping_of_blob(blob.metadata).n_stripes):
        part = range(stripe, stripe + 1)
        found.add(pieces_of(blob, rows, part), part)
    return found.first_wrong()


@pytest.mark.parametrize("size_bytes", [STRIPE - 5, 7 * STRIPE - 5])
@pytest.mark.parametrize(("axis", "target"), [(SECONDARY, 2), (SECONDARY, 9), (PRIMARY, 0), (PRIMARY, 8)])
def test_a_sliver_of_another_blob_is_found_and_proven(size_bytes: int, axis: Axis, target: int) -> None:
    blob, rows = with_foreign(size_bytes, axis, target), [1, 3, 5, 7]
    assert survey(blob, rows) == (axis, target)
    proof = proof_of(blob, axis, target, rows)
    assert len(proof[0]) + len(proof[1]) == shape_of_proof(blob.metadata, axis).size_bytes
    check(blob, axis, proof)


@pytest.mark.parametrize("axis", list(Axis))
def test_a_right_blob_cannot_be_proven_wrong(axis: Axis) -> None:
    blob = encode(5 * STRIPE, 1)
    assert survey(blob, [0, 4, 8, 9]) is None
    with pytest.raises(NotInconsistent):
        check(blob, axis, proof_of(blob, axis, 6, [0, 4, 8, 9]))


def test_a_symbol_that_its_sliver_does_not_have_names_the_sliver() -> None:
    blob = encode(5 * STRIPE, 1)
    head, stripes = proof_of(blob, SECONDARY, 6, [0, 4, 8, 9])
    shape = shape_of_proof(blob.metadata, SECONDARY)
    for at in (3 * shape.stripe_bytes + 2 * shape.symbol_bytes, 3 * shape.stripe_bytes + 3 * shape.symbol_bytes - 1):
        forged = bytearray(stripes)
        forged[at] ^= 1
        with pytest.raises(ProofMismatch) as mismatch:
            check(blob, SECONDARY, (head, bytes(forged)))
        assert mismatch.value.source_index == 8


def test_what_has_another_form_is_refused() -> None:
    blob = encode(5 * STRIPE, 1)
    head, stripes = proof_of(blob, SECONDARY, 6, [0, 4, 8, 9])
    one = shape_of_proof(blob.metadata, SECONDARY).stripe_bytes
    for wrong in (stripes[:-one], stripes + stripes[:one]):
        with pytest.raises(InvalidField, match="stripes"):
            check(blob, SECONDARY, (head, wrong))
    write_head = striped_inconsistency.write_head
    for unordered in ([4, 0, 8, 9], [0, 4, 4, 9]):
        with pytest.raises(InvalidField, match="ascending"):
            StripedProofCheck(blob.metadata, SECONDARY, write_head(6, unordered))
    with pytest.raises(WrongSymbolCount):
        StripedProofCheck(blob.metadata, SECONDARY, write_head(6, [0, 4, 8]))
    for target, sources in ((10, [0, 4, 8, 9]), (6, [0, 4, 8, 10])):
        with pytest.raises(SliverIndexOutOfRange):
            StripedProofCheck(blob.metadata, SECONDARY, write_head(target, sources))
