"""A ledger whose disk is lost, put together from the nodes: they have executed every block and kept it.

The longest chain is taken, from whoever has it, and executed again block by block: what does not follow is refused and
the next node is asked. It counts only if n - f shards, by the committee at its end, stand on it, and if it holds the
highest checkpoint that any node has verified. So nothing that was attested can be missing, and no f nodes can slip in
another history. Blocks beyond those that n - f shards hold are kept too when nobody contradicts them: they were durable
and answered for.

If it stops half-way the store holds a part of the chain; restoring again goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from haulout.chain.checkpoint import CertifiedCheckpoint
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import Corrupt, HauloutError
from haulout.ledger import queries
from haulout.ledger.apply import apply_block
from haulout.ledger.state import Node
from haulout.ports import Ledger, LedgerStatus, Workers
from haulout.primitives import is_quorum
from haulout.replica.checkpoints import verify_checkpoint
from haulout.replica.errors import NotRestorable
from haulout.replica.ledger_store import LedgerStore
from haulout.replica.replica import check_agrees, check_follows, check_version, close_stream


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put together."""

    height: int
    attested_height: int
    weight: int  # shards of the nodes that stand on this chain
    n_shards: int


async def restore_ledger(
    store: LedgerStore, sources: Mapping[str, Ledger], *, scheme: SignatureScheme, workers: Workers
) -> Restored:
    """Fill a ledger's store from nodes, by their names.

    Args:
        store: of the lost ledger: at genesis, or left over from a restore that was cut short.
        sources: what the nodes serve; those that do not answer are left out.

    Raises:
        NotRestorable: too few nodes stand on one chain, or it lacks what was attested.
    """
    statuses = await _statuses(store, sources)
    for name in sorted(statuses, key=lambda name: statuses[name].head.height, reverse=True):
        await _follow(store, sources[name], statuses[name].head.height, scheme, workers)
    weight, n_shards = await _count_weight(store, statuses)
    if not is_quorum(weight, n_shards):
        problem = f"nodes with {weight} of {n_shards} shards stand on the chain that ends at block {store.head.height}"
        raise NotRestorable(problem=problem)
    attested_height = 0
    for checkpoint in await _checkpoints(sources, statuses):
        if not verify_checkpoint(store, scheme, checkpoint):
            raise NotRestorable(problem=f"block {checkpoint.checkpoint.height} was attested, and no node gives it")
        await store.keep_checkpoint(checkpoint, durable=True)
        attested_height = max(attested_height, checkpoint.checkpoint.height)
    return Restored(store.head.height, attested_height, weight, n_shards)


async def _statuses(store: LedgerStore, sources: Mapping[str, Ledger]) -> dict[str, LedgerStatus]:
    found: dict[str, LedgerStatus] = {}
    for name, source in sources.items():
        try:
            status = await source.status()
        except HauloutError:
            continue  # it is away: the others are counted
        if status.chain_id == store.head.chain_id:
            found[name] = status
    return found


async def _follow(store: LedgerStore, source: Ledger, height: int, scheme: SignatureScheme, workers: Workers) -> None:
    """Execute what a node has beyond what is here; what does not follow ends its part."""
    if height <= store.head.height:
        return
    blocks = source.blocks(store.head.height + 1)
    try:
        async for block in blocks:
            check_follows(store.head, block)
            check_version(block.header)
            out = await workers.run(
                apply_block, store.view, store.head, block.header.time_ms, block.transactions, scheme
            )
            check_agrees(block.header, out)
            await store.commit(out, durable=block.header.height >= height)
            if block.header.height >= height:
                return
    except Corrupt:
        return  # another history, or none: the next node is asked from here on
    except HauloutError:
        return
    finally:
        await close_stream(blocks)


async def _count_weight(store: LedgerStore, statuses: Mapping[str, LedgerStatus]) -> tuple[int, int]:
    """Shards of the nodes whose head is on this chain, and of all."""
    committee = queries.committee(store.view)
    weights = {node.name: member.weight for member in committee.members for node in _node_of(store, member.node_id)}
    agreeing = 0
    for name, status in statuses.items():
        height = status.head.height
        if height <= store.head.height and store.header(height) == status.head:
            agreeing += weights.get(name, 0)
    return agreeing, committee.n_shards


def _node_of(store: LedgerStore, node_id: bytes) -> list[Node]:
    node = queries.node(store.view, node_id)
    return [] if node is None else [node]


async def _checkpoints(
    sources: Mapping[str, Ledger], statuses: Mapping[str, LedgerStatus]
) -> list[CertifiedCheckpoint]:
    """The latest certified checkpoint of each node, by height."""
    found: dict[int, CertifiedCheckpoint] = {}
    for name in statuses:
        try:
            latest = (await sources[name].attestation()).latest
        except HauloutError:
            continue
        if latest is not None:
            found[latest.checkpoint.height] = latest
    return [found[height] for height in sorted(found)]
