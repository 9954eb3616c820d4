"""Blobs that contradict themselves: who was left out has to rebuild them, finds it out, and everybody hears of it."""

from __future__ import annotations

import pytest

from haulout.client.holders import COMMITTEES
from haulout.codec.errors import InconsistentBlob
from haulout.ledger import queries
from haulout.sim.loop import run
from haulout.sim.world import World
from haulout.sim.writers import ContradictoryStripes, contradict, store_inconsistent

N_SHARDS = 10
ROWS, COLUMNS = b"rows " * 4_000, b"column" * 3_333 + b"s."


@pytest.mark.parametrize("encode", [contradict, ContradictoryStripes])
def test_members_that_were_left_out_prove_that_a_blob_contradicts_itself(encode) -> None:  # type: ignore[no-untyped-def]
    async def story() -> None:
        async with World(6, n_shards=N_SHARDS) as world:
            alice = world.client("alice")
            blob = encode(ROWS, COLUMNS, N_SHARDS)
            storing = store_inconsistent(alice.network, alice.wallet, blob, first_left_out=0)
            await alice.host.machine.run(storing)
            assert await alice.read(blob.blob_id) == ROWS, "the rows alone say nothing"
            view = alice.host.replica.view  # type: ignore[union-attr]
            await world.until(lambda: queries.invalidated_epoch(view, blob.blob_id) is not None, "it is proven")
            with pytest.raises(InconsistentBlob) as told:
                await alice.read(blob.blob_id)
            assert told.value.check == COMMITTEES

    run(story(), 6)
