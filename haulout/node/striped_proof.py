"""Proving that a blob in stripes was encoded wrongly: all of it is read from one set of rows, then told to the others.

    survey    the hashes of all slivers that k1 rows give; the first that the metadata has otherwise is the target
    report    for each member that is asked, the symbols that cross the target are made from the same rows as they go

So the blob is read once to find what is wrong, and once more for each who attests it. Nothing is kept: whoever stops
half-way, or cannot have the same rows any more, begins anew with its next attempt.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from haulout import codec
from haulout.codec.metadata import BlobMetadata
from haulout.node import rules
from haulout.node.inconsistency import InconsistencyProver
from haulout.node.striped_rows import StripedRows
from haulout.ports import ProofUpload, Workers
from haulout.primitives import Axis, BlobId, min_correct


class StripedProver:
    """Finds in a blob in stripes what no right encoding can have, and has it attested."""

    def __init__(self, *, rows: StripedRows, prover: InconsistencyProver, workers: Workers) -> None:
        self._rows = rows
        self._prover = prover
        self._workers = workers

    async def report(self, blob_id: BlobId, metadata: BlobMetadata, duty: rules.Duty) -> bool:
        """Have a blob marked invalid; says whether it is. When its rows prove nothing, or too few attest it now, it is
        for later.

        Raises:
            RepairFailed: the others do not give enough rows.
        """
        striping = codec.rs8.striping_of_blob(metadata)
        survey = codec.striped_inconsistency.StripeSurvey(metadata)
        sources: tuple[int, ...] | None = None
        for segment in range(striping.n_segments):
            pieces = await self._rows.read(blob_id, metadata, striping, segment, duty, only=sources)
            sources = tuple(piece.index for piece in pieces)
            await self._workers.run(survey.add, pieces, striping.segment(segment))
        wrong = await self._workers.run(survey.first_wrong)
        if wrong is None or sources is None:
            return False
        axis, target = wrong
        shape = codec.striped_inconsistency.shape_of_proof(metadata, axis)

        def begin() -> ProofUpload:
            return ProofUpload(shape.size_bytes, self._chunks(blob_id, metadata, duty, sources, axis, target))

        return await self._prover.report(blob_id, metadata, axis, begin)

    async def _chunks(
        self,
        blob_id: BlobId,
        metadata: BlobMetadata,
        duty: rules.Duty,
        rows: tuple[int, ...],
        axis: Axis,
        target: int,
    ) -> AsyncIterator[bytes]:
        crossing = rows if axis is Axis.SECONDARY else range(min_correct(duty.n_shards))
        yield codec.striped_inconsistency.write_head(target, crossing)
        striping = codec.rs8.striping_of_blob(metadata)
        prove = codec.striped_inconsistency.prove_stripes
        for segment in range(striping.n_segments):
            pieces = await self._rows.read(blob_id, metadata, striping, segment, duty, only=rows)
            yield await self._workers.run(prove, metadata, axis, target, pieces, striping.segment(segment))
