"""A ledger whose disk is lost, put together from the nodes: they have executed every block and kept it.

The longest chain is taken, from whoever has it, and executed again block by block: what does not follow is refused and
the next node is asked. It counts only if n - f shards, by the committee at its end, stand on it, and if it holds the
highest checkpoint that any node has verified. So nothing that was attested can be missing, and no f nodes can slip in
another history. Blocks beyond those that n - f shards hold are kept too when nobody contradicts them: they were durable
and answered for.

Nodes keep the blocks of some epochs only. When none has the first ones any more, the ledger begins with the snapshot of
a node whose block n - f shards have executed too, by the committee that the chain of checkpoints leads to from genesis;
or by the one before, when the epoch began just now and that is not signed yet.

No node is believed alone, and none can stand in the way: a checkpoint that no trusted committee has signed, or a
snapshot that is none, is left out, and whoever gave it is named.

If it stops half-way the store holds a part of the chain, or half a snapshot; restoring again goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from haulout.chain.block import BlockHeader
from haulout.chain.checkpoint import CertifiedCheckpoint, Checkpoint
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import HauloutError, Unreachable
from haulout.ledger import queries
from haulout.ledger.apply import apply_block
from haulout.ledger.events import EpochStarted
from haulout.ledger.genesis import Genesis
from haulout.ledger.state import Committee, Node, View
from haulout.ports import Ledger, LedgerStatus, Store, Workers
from haulout.primitives import Digest, is_quorum
from haulout.replica.bootstrap import (
    ClosedEpoch,
    check_signed,
    committee_of_genesis,
    follow_committees,
    header_after,
)
from haulout.replica.checkpoints import verify_checkpoint
from haulout.replica.errors import BadSnapshot, EventNotKept, NotProven, NotRestorable
from haulout.replica.ledger_rows import begin_import, discard_import, is_half_imported, read_head
from haulout.replica.ledger_store import EVENT_PAGE, LedgerStore
from haulout.replica.replica import check_agrees, check_follows, check_version, close_stream
from haulout.replica.snapshot import import_snapshot


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put together."""

    height: int
    attested_height: int
    weight: int  # shards of the nodes that stand on this chain
    n_shards: int
    not_believed: Mapping[str, str]  # nodes that gave what nothing proves, and what is wrong with it


async def restore_ledger(
    rows: Store, sources: Mapping[str, Ledger], *, genesis: Genesis, scheme: SignatureScheme, workers: Workers
) -> Restored:
    """Fill a ledger's store from nodes, by their names.

    Args:
        rows: the store of the lost ledger: empty, or left over from a restore that was cut short.
        sources: what the nodes serve; those that do not answer are left out.

    Raises:
        NotRestorable: too few nodes stand on one chain, or it lacks what was attested.
        CheckpointConflict: n - f shards have attested another block than the one on that chain.
    """
    statuses = await _statuses(genesis, sources)
    behind = {name: await _names_behind(status.head, sources, statuses) for name, status in statuses.items()}
    # Of what most have executed first: on a branch of its own a node is alone, however long it says that it is.
    names = sorted(statuses, key=lambda name: (len(behind[name]), statuses[name].head.height), reverse=True)
    not_believed: dict[str, str] = {}
    await _begin_with_snapshot(
        rows, sources, statuses, {name: behind[name] for name in names}, not_believed, genesis, scheme, workers
    )
    store = await LedgerStore.open(rows, genesis, scheme)
    for name in names:
        await _follow(store, sources[name], statuses[name].head.height, scheme, workers)
    weight, n_shards = await _count_weight(store, statuses)
    if not is_quorum(weight, n_shards):
        problem = f"nodes with {weight} of {n_shards} shards stand on the chain that ends at block {store.head.height}"
        raise NotRestorable(problem=problem)
    await _keep_checkpoints(store, sources, statuses, not_believed, genesis, scheme, workers)
    latest = store.checkpoint()
    attested_height = 0 if latest is None else latest.checkpoint.height
    return Restored(store.head.height, attested_height, weight, n_shards, not_believed)


async def _keep_checkpoints(
    store: LedgerStore,
    sources: Mapping[str, Ledger],
    statuses: Mapping[str, LedgerStatus],
    not_believed: dict[str, str],
    genesis: Genesis,
    scheme: SignatureScheme,
    workers: Workers,
) -> None:
    """Keep the checkpoints that a committee known here, or one that checkpoints lead to, has signed.

    Raises:
        NotRestorable: one of them is of a block that is not on this chain.
    """
    trusted: dict[int, Committee] = {}
    for name, certified in await _checkpoints(sources, statuses):
        checkpoint = certified.checkpoint
        if checkpoint.height < store.oldest_height:
            continue  # below the snapshot, and looked at with it
        known = queries.find_committee(store.view, checkpoint.epoch)
        if known is not None:
            trusted[checkpoint.epoch] = known
        elif checkpoint.epoch not in trusted:
            led_to, _ = await _trusted_committees(sources, statuses, genesis, scheme, workers)
            trusted = {**led_to, **trusted}
        try:
            await check_signed(certified, trusted, Digest(genesis.chain_id), scheme, workers)
        except NotProven as e:
            not_believed[name] = e.problem
            continue
        header = store.find_header(checkpoint.height)
        if header is None:
            raise NotRestorable(problem=f"block {checkpoint.height} was attested, and no node gives it")
        if verify_checkpoint(store, scheme, certified):
            await store.keep_checkpoint(certified, durable=True)
        elif header.digest() != checkpoint.block_digest:
            raise NotRestorable(problem=f"another block {checkpoint.height} was attested than the one that nodes give")


async def _begin_with_snapshot(
    rows: Store,
    sources: Mapping[str, Ledger],
    statuses: Mapping[str, LedgerStatus],
    behind: Mapping[str, Sequence[str]],
    not_believed: dict[str, str],
    genesis: Genesis,
    scheme: SignatureScheme,
    workers: Workers,
) -> None:
    """Import the state of a node when no node has the next block any more.

    Args:
        behind: the nodes in the order in which to ask them, with those that have executed their last block.
    """
    if is_half_imported(rows):
        await discard_import(rows)
    known = read_head(rows)
    height = 0 if known is None else known.height
    if not statuses or any(status.oldest_height <= height + 1 for status in statuses.values()):
        return
    trusted, closed = await _trusted_committees(sources, statuses, genesis, scheme, workers)
    for name, witnesses in behind.items():
        head = statuses[name].head
        if read_head(rows) is not None:
            await begin_import(rows)
        try:
            await import_snapshot(rows, sources[name].snapshot(), trusted_digest=Digest(head.digest()), workers=workers)
        except BadSnapshot as e:
            not_believed[name] = e.problem
            await discard_import(rows)
            continue
        except Unreachable:
            continue  # the next import starts over
        store = await LedgerStore.open(rows, genesis, scheme)
        epoch = queries.system(rows).epoch
        is_closed = epoch in trusted
        # Where nobody has closed the last epoch yet, the committee of that one has to stand on the block.
        committee = trusted.get(epoch if is_closed else epoch - 1)
        is_another = is_closed and queries.committee(rows) != committee
        if committee is None or is_another or not _is_behind(rows, committee, witnesses):
            await discard_import(rows)
            continue
        for known_epoch in closed:
            await store.keep_closed(known_epoch.closing, known_epoch.next_committee)
        shown_by = [sources[witness] for witness in witnesses]
        try:
            if not is_closed:
                await _keep_beginning(store, epoch, shown_by)
            checkpoints = await _checkpoints(sources, statuses)
            await _keep_attested(store, checkpoints, shown_by, not_believed, trusted, scheme, workers)
        except HauloutError:
            await discard_import(rows)  # or the next attempt would take it for a part of the chain
            raise
        return
    if is_half_imported(rows):
        await discard_import(rows)
    raise NotRestorable(problem="the first blocks are pruned everywhere, and no block is held by enough of the nodes")


async def _trusted_committees(
    sources: Mapping[str, Ledger],
    statuses: Mapping[str, LedgerStatus],
    genesis: Genesis,
    scheme: SignatureScheme,
    workers: Workers,
) -> tuple[dict[int, Committee], list[ClosedEpoch]]:
    """The committees that checkpoints lead to from genesis, by epoch, as far as any node shows."""
    first = await workers.run(committee_of_genesis, genesis, scheme)
    trusted = {first.epoch: first}
    longest: list[ClosedEpoch] = []
    chain_id = Digest(genesis.chain_id)
    for name in statuses:
        try:
            closed = await follow_committees(
                sources[name], first, trusted, chain_id=chain_id, scheme=scheme, workers=workers
            )
        except HauloutError:
            continue  # it lies, or went away; what it has shown until then is signed
        longest = max(longest, closed, key=len)
    return trusted, longest


async def _keep_attested(
    store: LedgerStore,
    checkpoints: Sequence[tuple[str, CertifiedCheckpoint]],
    witnesses: Sequence[Ledger],
    not_believed: dict[str, str],
    trusted: Mapping[int, Committee],
    scheme: SignatureScheme,
    workers: Workers,
) -> None:
    """Keep the highest checkpoint at or below the imported block, which has to come of it.

    Raises:
        NotRestorable: it does not, as far as these nodes show.
    """
    signed: list[CertifiedCheckpoint] = []
    for name, certified in checkpoints:
        if certified.checkpoint.height > store.head.height:
            continue  # of a block that is still to be followed
        try:
            await check_signed(certified, trusted, Digest(store.head.chain_id), scheme, workers)
        except NotProven as e:
            not_believed[name] = e.problem
        else:
            signed.append(certified)
    if not signed:
        return
    highest = signed[-1]
    for witness in witnesses:
        if await _leads_to(witness, highest.checkpoint, store.head):
            await store.keep_checkpoint(highest, durable=True)
            return
    problem = f"block {highest.checkpoint.height} was attested, and block {store.head.height} does not come of it"
    raise NotRestorable(problem=problem)


async def _keep_beginning(store: LedgerStore, epoch: int, witnesses: Sequence[Ledger]) -> None:
    """Keep the block that began the present epoch, so that the nodes can be asked to close the one before: without that
    nobody could ever begin with a snapshot again. What a node says of its height is proven by their signatures then.

    Raises:
        NotRestorable: no node shows it.
    """
    for witness in witnesses:
        height = await _height_of_beginning(witness, epoch, queries.system(store.view).next_sequence)
        header = None if height is None else await _header_before(witness, height, store.head)
        if header is not None:
            await store.keep_beginning(epoch, header)
            return
    raise NotRestorable(problem=f"no node shows the block that began epoch {epoch}")


async def _height_of_beginning(source: Ledger, epoch: int, next_sequence: int) -> int | None:
    """The block in which a node saw an epoch begin, searched from its last event backwards."""
    stop, oldest = next_sequence, 0
    while stop > oldest:
        start = max(oldest, stop - EVENT_PAGE)
        events = source.events(start)
        found: int | None = None
        try:
            async for event in events:
                if isinstance(event.body, EpochStarted) and event.body.epoch == epoch:
                    found = event.height
                if event.sequence + 1 >= stop:
                    break
        except EventNotKept as e:
            if e.oldest <= start:
                return None
            oldest = e.oldest
            continue
        except HauloutError:
            return None
        finally:
            await close_stream(events)
        if found is not None:
            return found
        stop = start
    return None


async def _leads_to(source: Ledger, checkpoint: Checkpoint, head: BlockHeader) -> bool:
    """By a node's blocks, one after the other, an attested block leads to another one."""
    header = await _header_before(source, checkpoint.height, head)
    return header is not None and header.digest() == checkpoint.block_digest


async def _header_before(source: Ledger, height: int, head: BlockHeader) -> BlockHeader | None:
    """The header at a height from which a node's blocks, one after the other, lead to a known one."""
    header = await _header_at(source, height)
    if header is None:
        return None
    try:
        return header if await header_after(source, header, head.height) == head else None
    except HauloutError:
        return None


async def _names_behind(
    head: BlockHeader, sources: Mapping[str, Ledger], statuses: Mapping[str, LedgerStatus]
) -> list[str]:
    """The nodes that have executed a block."""
    found = []
    for name, status in statuses.items():
        if status.head == head or (
            status.head.height > head.height and await _header_at(sources[name], head.height) == head
        ):
            found.append(name)
    return found


async def _header_at(source: Ledger, height: int) -> BlockHeader | None:
    blocks = source.blocks(height)
    try:
        block = await anext(blocks, None)
    except HauloutError:
        return None
    finally:
        await close_stream(blocks)
    return None if block is None else block.header


def _is_behind(view: View, committee: Committee, names: Sequence[str]) -> bool:
    """These nodes have n - f shards."""
    weights = {member.node_id: member.weight for member in committee.members}
    weight = sum(weights.get(queries.node_id_of_name(view, name) or b"", 0) for name in names)
    return is_quorum(weight, committee.n_shards)


async def _statuses(genesis: Genesis, sources: Mapping[str, Ledger]) -> dict[str, LedgerStatus]:
    found: dict[str, LedgerStatus] = {}
    for name, source in sources.items():
        try:
            status = await source.status()
        except HauloutError:
            continue  # it is away: the others are counted
        if status.chain_id == genesis.chain_id:
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
    except HauloutError:
        return  # another history, or none, or it went away: the next node is asked from here on
    finally:
        await close_stream(blocks)


async def _count_weight(store: LedgerStore, statuses: Mapping[str, LedgerStatus]) -> tuple[int, int]:
    """Shards of the nodes whose head is on this chain, and of all."""
    committee = queries.committee(store.view)
    weights = {node.name: member.weight for member in committee.members for node in _node_of(store, member.node_id)}
    agreeing = 0
    for name, status in statuses.items():
        height = status.head.height
        if height <= store.head.height and store.find_header(height) == status.head:
            agreeing += weights.get(name, 0)
    return agreeing, committee.n_shards


def _node_of(store: LedgerStore, node_id: bytes) -> list[Node]:
    node = queries.node(store.view, node_id)
    return [] if node is None else [node]


async def _checkpoints(
    sources: Mapping[str, Ledger], statuses: Mapping[str, LedgerStatus]
) -> list[tuple[str, CertifiedCheckpoint]]:
    """What each node says is the latest certified checkpoint, with its name, by height."""
    found: list[tuple[str, CertifiedCheckpoint]] = []
    for name in statuses:
        try:
            latest = (await sources[name].attestation()).latest
        except HauloutError:
            continue
        if latest is not None:
            found.append((name, latest))
    return sorted(found, key=lambda offered: offered[1].checkpoint.height)
