"""The rows of a ledger on disk, and what can be told of a store, or done to it, before a ledger is opened over it.

One block is one atomic batch, so after any crash the rows are those of exactly one height. The core's rows (state,
tree, history) keep their own prefixes below `FIRST_OWN`; above it:

    e0 height      BlockRow: header, what it caused, where its events begin
    e1 height      its transactions
    e2 digest      TransactionResult
    e3 sequence    Event
    e4 epoch       height of the block that began it
    e5 epoch       the last certified checkpoint of that epoch
    e6 node id     the highest checkpoint signature of that node (the sequencer keeps it)
    e7 epoch       the committee of that epoch, which the state forgets two epochs later
    e8 name        singletons: format, head, oldest kept block, divergence, an import that has not ended
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from haulout import bcs
from haulout.bcs import U8, U32, U64, Bytes32
from haulout.chain.block import Block, BlockHeader
from haulout.ledger import keys, queries
from haulout.ledger.apply import BlockOut
from haulout.ledger.events import EpochStarted
from haulout.ledger.state import View
from haulout.ports import Store
from haulout.replica.errors import LedgerDiverged

FORMAT_VERSION = 1
WIPE_ROWS = 10_000
FIRST_OWN = b"\xe0"

BLOCK = b"\xe0"
TRANSACTIONS = b"\xe1"
RESULT = b"\xe2"
EVENT = b"\xe3"
EPOCH = b"\xe4"
CHECKPOINT = b"\xe5"
SIGNATURE = b"\xe6"
COMMITTEE = b"\xe7"
FORMAT = b"\xe8format"
HEAD = b"\xe8head"
OLDEST = b"\xe8oldest"
DIVERGENCE = b"\xe8divergence"
IMPORTING = b"\xe8importing"

Transactions = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class BlockRow:
    """A block as it is kept: without its transactions, with the way to what it caused."""

    version: U8
    header: BlockHeader
    first_sequence: U64
    n_events: U32
    digests: tuple[Bytes32, ...]  # of its transactions, in order


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first block that could not be believed."""

    version: U8
    height: U64
    problem: str


def rows_of(out: BlockOut, first_sequence: int, before: View) -> dict[bytes, bytes | None]:
    """Everything that one block adds to the store, whose state before it is given."""
    rows: dict[bytes, bytes | None] = dict(out.writes)
    height = bcs.u64_be(out.header.height)
    digests = tuple(result.digest for result in out.results)
    rows[BLOCK + height] = bcs.encode(BlockRow(FORMAT_VERSION, out.header, first_sequence, len(out.events), digests))
    rows[TRANSACTIONS + height] = bcs.encode(out.transactions, Transactions)
    for digest, encoded in zip(digests, out.encoded_results, strict=True):
        rows[RESULT + digest] = encoded
    for event, encoded in zip(out.events, out.encoded_events, strict=True):
        rows[EVENT + bcs.u64_be(event.sequence)] = encoded
        if isinstance(event.body, EpochStarted):
            epoch = event.body.epoch.to_bytes(4, "big")
            committee_key = keys.committee(event.body.epoch)
            rows[EPOCH + epoch] = height
            rows[COMMITTEE + epoch] = out.writes.get(committee_key) or before.get(committee_key)
    rows[HEAD] = height
    return rows


def read_block_row(view: View, height: int) -> BlockRow | None:
    """The row of a block that is kept, or whose header is; None for others."""
    raw = view.get(BLOCK + bcs.u64_be(height)) if height >= 0 else None
    return None if raw is None else bcs.decode(BlockRow, raw)


def read_head(view: View) -> BlockHeader | None:
    """The header of the last block in a store, or None when it holds no ledger."""
    raw = view.get(HEAD)
    row = None if raw is None else read_block_row(view, int.from_bytes(raw, "big"))
    return None if row is None else row.header


def read_divergence(view: View) -> LedgerDiverged | None:
    """The divergence that is remembered in a store, if any."""
    raw = view.get(DIVERGENCE)
    if raw is None:
        return None
    kept: Divergence = bcs.decode(Divergence, raw)
    return LedgerDiverged(height=kept.height, problem=kept.problem)


def is_half_imported(view: View) -> bool:
    """An import of a snapshot was cut short: what is there is no ledger."""
    return view.get(IMPORTING) is not None


async def begin_import(store: Store) -> None:
    """Mark a store as half imported: it cannot be opened until `finish_import`. Then remove whatever was in it."""
    await store.commit({IMPORTING: b"1"})
    while keys_left := [key for key, _ in store.scan(b"", b"\xff" * 40, limit=WIPE_ROWS) if key != IMPORTING]:
        await store.commit(dict.fromkeys(keys_left), durable=False)


async def discard_import(store: Store) -> None:
    """Make a store empty again."""
    await begin_import(store)
    await store.commit({IMPORTING: None})


async def finish_import(store: Store, head: Block, rows: Mapping[bytes, bytes]) -> None:
    """Make an imported state a ledger that ends with `head`; blocks up to it are not kept."""
    height = bcs.u64_be(head.header.height)
    row = BlockRow(FORMAT_VERSION, head.header, queries.system(store).next_sequence, 0, ())
    await store.commit(
        {
            **rows,
            FORMAT: bytes([FORMAT_VERSION]),
            BLOCK + height: bcs.encode(row),
            HEAD: height,
            OLDEST: bcs.u64_be(head.header.height + 1),
            EPOCH + queries.system(store).epoch.to_bytes(4, "big"): height,
            IMPORTING: None,
        }
    )
