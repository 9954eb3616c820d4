"""Row keys in their order, and the reads that need more than one row."""

from __future__ import annotations

import pytest

from haulout.ledger import keys, queries
from haulout.ledger.commands import Created, Existing, ReserveSpace, TransferObject
from haulout.ledger.refusals import InsufficientFunds
from haulout.ledger.sandbox import Sandbox
from haulout.ledger.state import ObjectKind

MIB = 1 << 20


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        (keys.bucket(255), keys.bucket(256)),
        (keys.committee(1), keys.committee(0x01000000)),
        (keys.receipt(255, b"\xff" * 32), keys.receipt(256, bytes(32))),
        (keys.hand_over(1, 999), keys.hand_over(2, 0)),
        (keys.blob_object(bytes(32), False, 9, b"\xff" * 32), keys.blob_object(bytes(32), True, 1, bytes(32))),
        (keys.blob_object(bytes(32), True, 255, b"\xff" * 32), keys.blob_object(bytes(32), True, 256, bytes(32))),
        (keys.blob_end(255, b"\xff" * 32), keys.blob_end(256, bytes(32))),
    ],
)
def test_the_order_of_keys_is_the_order_of_numbers(lower: bytes, higher: bytes) -> None:
    assert lower < higher


def test_ranges_end_behind_their_last_key() -> None:
    owner = b"\xff" * 32
    start, end = keys.owned_range(owner, ObjectKind.BLOB)
    assert start <= keys.owned(owner, ObjectKind.BLOB, b"\xff" * 32) < end
    assert not start <= keys.owned(owner, ObjectKind.STAKED_WAL, bytes(32)) < end
    assert keys.prefix_end(b"\x80\xff\xff") == b"\x81"


def test_the_root_covers_tables_and_not_indexes() -> None:
    assert keys.is_committed(keys.SYSTEM) and keys.is_committed(keys.node_name("x"))
    assert not keys.is_committed(keys.owned(bytes(32), ObjectKind.BLOB, bytes(32)))
    assert not keys.is_committed(b"\xf0\x00")


def test_a_quote_is_what_is_paid(world: Sandbox) -> None:
    quote = queries.quote(world.state, encoded_bytes=3 * MIB + 1, n_epochs=5)
    assert (quote.storage_frost, quote.write_frost) == (4 * 5 * 100_000, 4 * 20_000)
    assert quote.total_frost == 2_080_000
    before = queries.balance(world.state, world.address("alice"))
    world.run("alice", ReserveSpace(3 * MIB + 1, 0, 6))
    assert before - queries.balance(world.state, world.address("alice")) == quote.storage_frost
    assert queries.quote(world.state, encoded_bytes=MIB, n_epochs=5, storage_bytes=0).total_frost == 20_000


def test_owned_objects_come_in_pages(world: Sandbox) -> None:
    alice = world.address("alice")
    created = {world.run("alice", ReserveSpace(1, 0, 2)).created[0][0] for _ in range(5)}
    first = list(queries.owned_ids(world.state, alice, ObjectKind.STORAGE, limit=3))
    rest = list(queries.owned_ids(world.state, alice, ObjectKind.STORAGE, after=first[-1]))
    assert first + rest == sorted(created)


def test_nodes_come_in_pages(world: Sandbox) -> None:
    first = list(queries.nodes(world.state, limit=2))
    rest = list(queries.nodes(world.state, after=first[-1][0]))
    assert [node_id for node_id, _ in first + rest] == sorted(node.node_id for node in world.network.nodes)


def test_what_is_not_there_is_none(world: Sandbox) -> None:
    assert queries.find_committee(world.state, 2) is None
    assert queries.previous_committee(world.state) is None
    assert queries.blob_existence(world.state, bytes(32)) is None
    assert queries.hand_over(world.state, 1, 0) is None
    with pytest.raises(queries.StateIncomplete):
        queries.committee(world.state, 2)


def test_references_resolve_within_a_transaction(world: Sandbox) -> None:
    result = world.run("alice", ReserveSpace(1, 0, 2), TransferObject(Created(0, 0), world.address("bob")))
    assert result.is_ok
    assert world.run("bob", TransferObject(Existing(result.created[0][0]), world.address("alice"))).is_ok


def test_a_refusal_says_what_to_do() -> None:
    refusal = InsufficientFunds(address="0x1", available_frost=5, needed_frost=7)
    assert str(refusal) == "0x1 holds 5 FROST, 7 are needed; fund the account or ask for less"
