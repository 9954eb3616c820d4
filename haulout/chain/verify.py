"""Checks that anyone can make on a chain of headers without executing anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from haulout.chain import proof
from haulout.chain.block import HEADER_VERSION, NO_DIGEST, Block, BlockHeader, compute_transactions_root
from haulout.errors import Corrupt


@dataclass(eq=False)
class BrokenChain(Corrupt):
    """A block does not follow from the one before it, or is not what its header says."""

    code = "BROKEN_CHAIN"
    template = "block {height} is not a valid successor: {problem}"
    hint = "its source is faulty; take blocks from another one"
    height: int
    problem: str


@dataclass(eq=False)
class ProofInvalid(Corrupt):
    """A row that a source handed out is not proven by its header."""

    code = "STATE_PROOF_INVALID"
    template = "the proof of row {key} does not match the state of block {height}"
    hint = "its source is faulty; ask another one"
    key: str
    height: int


def check_genesis_header(header: BlockHeader, chain_id: bytes) -> None:
    """Refuse a first header that cannot be this chain's.

    Raises:
        BrokenChain: with what is wrong.
    """
    _check(header, header.version == HEADER_VERSION, f"header version {header.version}")
    _check(header, header.height == 0, "genesis has height 0")
    _check(header, header.chain_id == chain_id, "of another chain")
    _check(header, header.previous_digest == NO_DIGEST, "genesis has no predecessor")


def check_successor(parent: BlockHeader, header: BlockHeader) -> None:
    """Refuse a header that does not follow `parent`.

    Raises:
        BrokenChain: version, chain, height, previous digest or time are wrong, in this order.
    """
    _check(header, header.version == HEADER_VERSION, f"header version {header.version}")
    _check(header, header.chain_id == parent.chain_id, "of another chain")
    _check(header, header.height == parent.height + 1, f"expected height {parent.height + 1}")
    _check(header, header.previous_digest == parent.digest(), "previous digest")
    _check(header, header.time_ms >= parent.time_ms, "time goes back")


def check_block(parent: BlockHeader, block: Block) -> None:
    """Refuse a block that does not follow `parent` or whose transactions are not those of its header.

    Raises:
        BrokenChain: with what is wrong.
    """
    check_successor(parent, block.header)
    root = compute_transactions_root(block.transactions)
    _check(block.header, root == block.header.transactions_root, "transactions root")


def check_headers(trusted: BlockHeader, headers: Sequence[BlockHeader]) -> BlockHeader:
    """Follow headers from a trusted one; returns the last.

    Raises:
        BrokenChain: at the first that does not follow.
    """
    last = trusted
    for header in headers:
        check_successor(last, header)
        last = header
    return last


def check_row(header: BlockHeader, key: bytes, value: bytes | None, row_proof: bytes) -> None:
    """Refuse a row that is not in the state of the header's block.

    Raises:
        ProofInvalid: the proof shows something else or nothing.
    """
    if not proof.verify(header.state_root, key, value, row_proof):
        raise ProofInvalid(key=key.hex(), height=header.height)


def _check(header: BlockHeader, holds: bool, problem: str) -> None:
    if not holds:
        raise BrokenChain(height=header.height, problem=problem)
