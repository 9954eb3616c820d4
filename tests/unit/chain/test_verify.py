"""A chain of headers, checked without executing anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haulout.chain import tree
from haulout.chain.block import Block, BlockHeader, compute_transactions_root
from haulout.chain.proof import prove
from haulout.chain.verify import (
    BrokenChain,
    ProofInvalid,
    check_block,
    check_genesis_header,
    check_headers,
    check_row,
    check_successor,
)

CHAIN = b"c" * 32
GENESIS = BlockHeader(1, 1, CHAIN, 0, 100, bytes(32), bytes(32), bytes(32), bytes(32), bytes(32))
FIRST = replace(GENESIS, height=1, time_ms=100, previous_digest=GENESIS.digest())
SECOND = replace(FIRST, height=2, time_ms=101, previous_digest=FIRST.digest())


def test_follows_a_chain() -> None:
    check_genesis_header(GENESIS, CHAIN)
    assert check_headers(GENESIS, [FIRST, SECOND]) == SECOND


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 2}, "header version 2"),
        ({"chain_id": b"d" * 32}, "of another chain"),
        ({"height": 3}, "expected height 2"),
        ({"previous_digest": b"x" * 32}, "previous digest"),
        ({"time_ms": 99}, "time goes back"),
    ],
)
def test_refuses_what_does_not_follow(change: dict[str, object], problem: str) -> None:
    with pytest.raises(BrokenChain) as caught:
        check_successor(FIRST, replace(SECOND, **change))  # type: ignore[arg-type]
    assert caught.value.problem == problem
    assert caught.value.code == "BROKEN_CHAIN"


def test_a_change_anywhere_in_the_past_breaks_the_chain() -> None:
    with pytest.raises(BrokenChain):
        check_headers(GENESIS, [replace(FIRST, state_root=b"x" * 32), SECOND])


@pytest.mark.parametrize("change", [{"height": 1}, {"chain_id": bytes(32)}, {"previous_digest": b"x" * 32}])
def test_refuses_another_genesis(change: dict[str, object]) -> None:
    with pytest.raises(BrokenChain):
        check_genesis_header(replace(GENESIS, **change), CHAIN)  # type: ignore[arg-type]


def test_a_block_has_the_transactions_of_its_header() -> None:
    transactions = (b"one", b"two", b"three")
    header = replace(FIRST, transactions_root=compute_transactions_root(transactions))
    check_block(GENESIS, Block(header, transactions))
    for wrong in [(), (b"one", b"two"), (b"two", b"one", b"three"), (*transactions, b"four")]:
        with pytest.raises(BrokenChain, match="transactions root"):
            check_block(GENESIS, Block(header, wrong))


def test_a_row_is_believed_only_with_its_proof() -> None:
    root, pages = tree.update({}, {b"a": b"1", b"b": b"2"})
    rows = {key: value for key, value in pages.items() if value is not None}
    header = replace(FIRST, state_root=root)
    check_row(header, b"a", b"1", prove(rows, b"a"))
    with pytest.raises(ProofInvalid):
        check_row(header, b"a", b"2", prove(rows, b"a"))
