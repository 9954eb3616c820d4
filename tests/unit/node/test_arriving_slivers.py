"""What a giver streams: in batches of bounded size, in order, each sliver once, and only so many bytes at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from haulout.node.arriving_slivers import Batch, ByteBudget, OutOfOrder, in_batches
from haulout.ports import SliverUpload, SyncedSliver
from haulout.primitives import Axis, BlobId, SliverPairIndex

A, B, C = (BlobId(bytes([n]) * 32) for n in (1, 2, 3))


def synced(blob_id: BlobId, pair: int, size: int = 10, axis: Axis = Axis.PRIMARY) -> SyncedSliver:
    return SyncedSliver(blob_id, SliverUpload(SliverPairIndex(pair), axis, bytes(size)))


async def batches_of(slivers: Sequence[SyncedSliver], *, start: BlobId = A, batch_bytes: int = 100) -> list[Batch]:
    async def stream() -> AsyncIterator[SyncedSliver]:
        for sliver in slivers:
            yield sliver

    return [batch async for batch in in_batches(stream(), start=start, batch_bytes=batch_bytes)]


async def test_slivers_of_a_blob_come_together_and_no_two_blobs_do() -> None:
    slivers = [synced(A, 0), synced(A, 1), synced(A, 1, axis=Axis.SECONDARY), synced(C, 0)]
    found = await batches_of(slivers)
    assert [(batch.blob_id, len(batch.slivers), batch.size_bytes) for batch in found] == [(A, 3, 30), (C, 1, 10)]
    assert await batches_of([]) == []


async def test_a_batch_ends_with_the_sliver_that_fills_it() -> None:
    found = await batches_of([synced(A, pair, 60) for pair in range(5)] + [synced(B, 0, 500), synced(B, 1, 1)])
    assert [(batch.blob_id, batch.size_bytes) for batch in found] == [(A, 120), (A, 120), (A, 60), (B, 500), (B, 1)]


@pytest.mark.parametrize(
    "slivers",
    [
        [synced(B, 0), synced(A, 0)],
        [synced(A, 0), synced(A, 0)],
        [synced(A, 0, 200), synced(A, 1), synced(A, 0)],
        [synced(B, 0), synced(C, 0), synced(B, 1)],
    ],
    ids=["backwards", "twice", "twice, in two batches", "back again"],
)
async def test_what_no_giver_sends_is_refused(slivers: list[SyncedSliver]) -> None:
    with pytest.raises(OutOfOrder):
        await batches_of(slivers, start=A)


async def test_a_blob_before_the_first_that_was_asked_for_is_refused() -> None:
    assert await batches_of([synced(B, 0)], start=B)
    with pytest.raises(OutOfOrder):
        await batches_of([synced(A, 0)], start=B)


async def test_who_finds_no_room_waits_and_what_is_too_large_waits_for_all_of_it() -> None:
    budget = ByteBudget(100)
    await budget.take(60)
    taken: list[int] = []

    async def take(n_bytes: int) -> None:
        await budget.take(n_bytes)
        taken.append(n_bytes)

    waiting = [asyncio.create_task(take(n_bytes)) for n_bytes in (50, 500, 40)]
    await asyncio.sleep(0)
    assert taken == [40]
    budget.give_back(60)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert taken == [40, 50]
    budget.give_back(40)
    budget.give_back(50)
    await asyncio.gather(*waiting)
    assert taken == [40, 50, 500]
