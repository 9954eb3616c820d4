"""Rows of a kept ledger as they are handed out: with proofs where a root covers them, and bounded."""

from __future__ import annotations

from collections.abc import Sequence

from haulout.chain.proof import prove
from haulout.errors import InvalidField
from haulout.ledger.state import FIRST_DERIVED
from haulout.ports import StateEntry, StateRead
from haulout.replica.ledger_rows import FIRST_OWN, read_head
from haulout.replica.ledger_store import LedgerStore

MAX_READ_KEYS = 256
MAX_SCAN_ROWS = 1_000


def read_rows(store: LedgerStore, keys: Sequence[bytes]) -> StateRead:
    """Rows of committed tables with proofs against the head's state root; at most `MAX_READ_KEYS`.

    Raises:
        InvalidField: too many keys, or one of an index table, which no root covers.
    """
    if len(keys) > MAX_READ_KEYS:
        raise InvalidField(field="keys", problem=f"{len(keys)} keys, at most {MAX_READ_KEYS} at once")
    for key in keys:
        if not key or key[0] >= FIRST_DERIVED:
            raise InvalidField(field="keys", problem=f"{key[:40].hex() or 'empty'} is not a key of a committed table")
    view = store.view
    entries = tuple(StateEntry(bytes(key), view.get(bytes(key)), prove(view, bytes(key))) for key in keys)
    head = read_head(view)  # of these rows: `store.head` is told of a commit a moment after they show it
    assert head is not None, "an open ledger store has a head"
    return StateRead(head, entries)


def scan_rows(store: LedgerStore, start: bytes, end: bytes, *, limit: int) -> list[tuple[bytes, bytes]]:
    """State rows with start <= key < end in key order, without proofs; at most `MAX_SCAN_ROWS`.

    Raises:
        InvalidField: a limit out of bounds.
    """
    if not 1 <= limit <= MAX_SCAN_ROWS:
        raise InvalidField(field="limit", problem=f"{limit} is not between 1 and {MAX_SCAN_ROWS}")
    return list(store.view.scan(start, min(end, FIRST_OWN), limit=limit))
