"""What may stand in a block, and what a block leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haulout import bcs
from haulout.chain import history, proof
from haulout.chain.block import compute_outcomes_root, compute_transactions_root
from haulout.chain.verify import check_block, check_row
from haulout.crypto.keyed_hash import KeyedHash
from haulout.errors import InvalidInput, from_wire
from haulout.ledger import keys, queries
from haulout.ledger.admission import check_admissible
from haulout.ledger.apply import PROTOCOL_VERSION, apply_block
from haulout.ledger.commands import Transfer
from haulout.ledger.draft import Draft, EmptyView
from haulout.ledger.events import BalanceChanged
from haulout.ledger.genesis import DevelopmentNetwork
from haulout.ledger.refusals import InsufficientFunds, UpgradeRequired
from haulout.ledger.sandbox import Sandbox
from haulout.ledger.transactions import MAX_LIFE_MS, SignedTransaction, digest_of_bytes, sign_transaction


def admit(world: Sandbox, raw: bytes, now_ms: int | None = None) -> SignedTransaction:
    now_ms = world.head.time_ms if now_ms is None else now_ms
    return check_admissible(world.state, raw, now_ms=now_ms, chain_id=world.network.genesis.chain_id)


def altered(raw: bytes, **changes: Any) -> bytes:
    """The same transaction with other content under the old signature."""
    signed: SignedTransaction = bcs.decode(SignedTransaction, raw)
    return bcs.encode(replace(signed, transaction=replace(signed.transaction, **changes)))


def resigned(world: Sandbox, **changes: Any) -> bytes:
    """A transaction of alice's with other content, signed anew."""
    secret = world.network.account_secrets["alice"]
    arguments: dict[str, Any] = {
        "chain_id": world.network.genesis.chain_id,
        "commands": [Transfer(bytes(32), 1)],
        "nonce": bytes(16),
        "valid_until_ms": world.head.time_ms + 1000,
        **changes,
    }
    return bcs.encode(sign_transaction(secret, **arguments))


def code(world: Sandbox, raw: bytes, now_ms: int | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        admit(world, raw, now_ms)
    assert world.apply([raw], time_ms=now_ms).inadmissible == ((0, caught.value.code),)
    return caught.value.code


def test_a_signed_transaction_is_admissible_and_digests_alike(world: Sandbox) -> None:
    raw = world.sign("alice", Transfer(bytes(32), 1))
    signed = admit(world, raw)
    assert signed.transaction.sender == world.address("alice")
    assert signed.transaction.digest() == digest_of_bytes(raw)


@pytest.mark.parametrize("raw", [b"", b"\x01", b"\xff" * 300])
def test_bytes_that_are_no_transaction(world: Sandbox, raw: bytes) -> None:
    assert code(world, raw) == "MALFORMED_TRANSACTION"


def test_truncated_padded_and_unknown_versions(world: Sandbox) -> None:
    raw = world.sign("alice", Transfer(bytes(32), 1))
    assert code(world, raw[:-1]) == "MALFORMED_TRANSACTION"
    assert code(world, raw + b"\x00") == "MALFORMED_TRANSACTION"
    assert code(world, altered(raw, version=2)) == "MALFORMED_TRANSACTION"
    assert code(world, resigned(world, commands=[])) == "MALFORMED_TRANSACTION"


def test_too_many_commands_or_bytes(world: Sandbox) -> None:
    assert code(world, resigned(world, commands=[Transfer(bytes(32), 1)] * 65)) == "TRANSACTION_TOO_LARGE"
    assert code(world, bytes(65_537)) == "TRANSACTION_TOO_LARGE"
    assert admit(world, resigned(world, commands=[Transfer(bytes(32), 1)] * 64))


def test_another_chain(world: Sandbox) -> None:
    assert code(world, resigned(world, chain_id=bytes(32))) == "WRONG_CHAIN"


def test_a_transaction_lives_from_now_to_ten_minutes_ahead(world: Sandbox) -> None:
    now = world.head.time_ms + 5000
    assert code(world, resigned(world, valid_until_ms=now - 1), now) == "TRANSACTION_EXPIRED"
    assert code(world, resigned(world, valid_until_ms=now + MAX_LIFE_MS + 1), now) == "TRANSACTION_TOO_FAR_AHEAD"
    assert admit(world, resigned(world, valid_until_ms=now), now)
    assert admit(world, resigned(world, valid_until_ms=now + MAX_LIFE_MS), now)


def test_forged_signatures(world: Sandbox) -> None:
    raw = world.sign("alice", Transfer(bytes(32), 1))
    bob = world.address("bob")
    assert code(world, altered(raw, commands=(Transfer(bob, 1),))) == "BAD_SIGNATURE"
    assert code(world, altered(raw, sender=bob)) == "BAD_SIGNATURE"
    assert code(world, raw[:-1] + bytes([raw[-1] ^ 1])) == "BAD_SIGNATURE"
    signed: SignedTransaction = bcs.decode(SignedTransaction, raw)
    theirs: SignedTransaction = bcs.decode(SignedTransaction, world.sign("bob", Transfer(bytes(32), 1)))
    assert code(world, bcs.encode(replace(signed, public_key=theirs.public_key))) == "BAD_SIGNATURE"


def test_a_repeated_transaction_within_a_block_and_later(world: Sandbox) -> None:
    raw = world.sign("alice", Transfer(bytes(32), 1))
    out = world.apply([raw, raw])
    assert out.inadmissible == ((1, "DUPLICATE_TRANSACTION"),)
    assert out.transactions == (raw,)
    assert code(world, raw) == "DUPLICATE_TRANSACTION"
    assert queries.balance(world.state, bytes(32)) == 1


def test_a_refused_transaction_is_not_tried_again_either(world: Sandbox) -> None:
    raw = world.sign("poor", Transfer(bytes(32), 100))
    assert world.apply([raw]).results[0].reason == "INSUFFICIENT_FUNDS"
    assert code(world, raw) == "DUPLICATE_TRANSACTION"


def test_receipts_are_forgotten_when_they_cannot_matter_any_more(world: Sandbox) -> None:
    raw = world.sign("alice", Transfer(bytes(32), 1))
    until, digest = admit(world, raw).transaction.valid_until_ms, digest_of_bytes(raw)
    world.apply([raw])
    receipt = queries.receipt(world.state, until, digest)
    assert receipt is not None and (receipt.height, receipt.index) == (1, 0)
    world.apply([], time_ms=until)
    assert queries.receipt(world.state, until, digest) is not None
    world.apply([], time_ms=until + 1)
    assert queries.receipt(world.state, until, digest) is None
    assert code(world, raw) == "TRANSACTION_EXPIRED"


def test_many_receipts_are_forgotten_over_several_blocks(world: Sandbox) -> None:
    raws = [world.sign("alice", Transfer(bytes(32), 1), valid_until_ms=world.head.time_ms + 1000) for _ in range(150)]
    world.apply(raws)
    left = []
    for _ in range(3):
        world.apply([], time_ms=world.head.time_ms + 10_000)
        left.append(sum(1 for _ in world.state.scan(*keys.table_range(keys.RECEIPT))))
    assert left == [86, 22, 0]


def test_refusal_changes_only_the_receipt(world: Sandbox) -> None:
    before = dict(world.state.scan(b"\x00", b"\xf0"))
    raw = world.sign("poor", Transfer(bytes(32), 4), Transfer(bytes(32), 7))
    out = world.apply([raw])
    after = dict(world.state.scan(b"\x00", b"\xf0"))
    assert {key[:1] for key in after.keys() ^ before.keys()} == {keys.RECEIPT}
    assert all(after[key] == value for key, value in before.items())
    assert out.events == ()
    result = out.results[0]
    assert (result.reason, result.created) == ("INSUFFICIENT_FUNDS", ())
    assert result.message.startswith(f"0x{world.address('poor').hex()} holds 6 FROST, 7 are needed; ")


def test_a_block_is_what_its_header_says(world: Sandbox) -> None:
    parent = world.head
    raws = [world.sign("alice", Transfer(bytes(32), 1)), world.sign("poor", Transfer(bytes(32), 100))]
    out = world.apply(raws, time_ms=parent.time_ms + 7)
    header = out.header
    check_block(parent, out.block)
    assert (header.height, header.time_ms, header.protocol_version) == (1, parent.time_ms + 7, PROTOCOL_VERSION)
    assert header.chain_id == world.network.genesis.chain_id
    assert header.transactions_root == compute_transactions_root(raws)
    assert header.outcomes_root == compute_outcomes_root(
        [bcs.encode(result) for result in out.results], [bcs.encode(event) for event in out.events]
    )
    assert header.history_root == history.read_root(world.state, 1)
    for key in (keys.SYSTEM, keys.account(bytes(32)), keys.account(b"\x09" * 32)):
        check_row(header, key, world.state.get(key), proof.prove(world.state, key))


def test_events_are_numbered_through(world: Sandbox) -> None:
    first = queries.system(world.state).next_sequence
    raws = [world.sign(account, Transfer(bytes(32), 100)) for account in ("alice", "poor", "bob")]
    out = world.apply(raws)
    assert [event.sequence for event in out.events] == list(range(first, first + 4))
    assert [event.tx_index for event in out.events] == [0, 0, 2, 2]
    assert queries.system(world.state).next_sequence == first + 4
    assert out.events[-1].body == BalanceChanged(bytes(32), 200)
    assert all(event.height == 1 and event.epoch == 1 for event in out.events)


def test_time_does_not_go_back(world: Sandbox) -> None:
    out = world.apply([], time_ms=world.head.time_ms - 500)
    assert out.header.time_ms == world.network.genesis.genesis_time_ms


def test_a_view_is_only_read(world: Sandbox) -> None:
    before = dict(world.state.writes)
    apply_block(world.state, world.head, 1_100_000, [world.sign("alice", Transfer(bytes(32), 1))], world.scheme)
    assert world.state.writes == before


def test_order_of_transactions_decides(world: Sandbox) -> None:
    give, spend = world.sign("alice", Transfer(world.address("poor"), 5)), world.sign("poor", Transfer(bytes(32), 12))
    one = apply_block(world.state, world.head, 1_100_000, [give, spend], world.scheme)
    other = apply_block(world.state, world.head, 1_100_000, [spend, give], world.scheme)
    assert [result.is_ok for result in one.results] == [True, True]
    assert [result.is_ok for result in other.results] == [False, True]
    assert one.header.state_root != other.header.state_root


def test_unknown_rules_stop_the_build(world: Sandbox) -> None:
    system = replace(queries.system(world.state), protocol_version=PROTOCOL_VERSION + 1)
    world.write_rows({keys.SYSTEM: bcs.encode(system)})
    with pytest.raises(UpgradeRequired, match="protocol version 4, this build knows 1 to 3"):
        world.apply([])


def test_an_empty_store_is_no_state(world: Sandbox) -> None:
    with pytest.raises(queries.StateIncomplete):
        apply_block(Draft(EmptyView()), world.head, 0, [], world.scheme)


def test_refusals_cross_a_wire_with_their_fields() -> None:
    error = InsufficientFunds(address="0x1", available_frost=5, needed_frost=7)
    back = from_wire(error.kind, error.code, str(error), {k: str(v) for k, v in error.details().items()})
    assert type(back) is InsufficientFunds
    assert str(back) == str(error)


@pytest.fixture(scope="module")
def shared_world(network: DevelopmentNetwork) -> Sandbox:
    return Sandbox(network, KeyedHash())


@settings(max_examples=3 * settings.default.max_examples, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_make_apply_raise(data: st.DataObject, shared_world: Sandbox) -> None:
    world = shared_world
    raw = bytearray(world.sign("alice", Transfer(bytes(32), 1)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    candidates = [bytes(raw), bytes(raw[:cut]), data.draw(st.binary(max_size=40))]
    out = apply_block(world.state, world.head, world.head.time_ms, candidates, world.scheme)
    assert len(out.inadmissible) + len(out.results) == 3
