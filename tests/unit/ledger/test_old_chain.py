"""A chain that was made under an earlier version of the rules gives the same blocks, bit by bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from haulout import bcs
from haulout.chain.block import Block
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import invariants
from haulout.ledger.apply import apply_block
from haulout.ledger.draft import Draft, EmptyView
from haulout.ledger.genesis import Genesis, build_genesis

RECORDED = Path(__file__).parents[2] / "vectors" / "data"


@pytest.mark.parametrize("protocol_version", [1, 2])
def test_replays_a_chain_of_an_old_protocol_version_to_equal_headers(protocol_version: int) -> None:
    recorded = json.loads((RECORDED / f"ledger_protocol_{protocol_version}.json").read_text())
    blocks: list[Block] = [bcs.decode(Block, bytes.fromhex(raw)) for raw in recorded["blocks"]]
    out = build_genesis(Genesis.from_json(json.dumps(recorded["genesis"])), KeyedHash())
    state = Draft(EmptyView())
    state.absorb(out.writes)
    assert out.header == blocks[0].header
    for block in blocks[1:]:
        out = apply_block(state, out.header, block.header.time_ms, block.transactions, KeyedHash())
        assert out.header == block.header
        assert not out.inadmissible
        state.absorb(out.writes)
    assert out.header.digest().hex() == recorded["headDigest"]
    assert out.header.protocol_version == protocol_version
    invariants.check(state)
