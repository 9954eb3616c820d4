"""Any command with any values, by anyone, at any time: the ledger takes it or refuses it, and never raises."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haulout import bcs
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import invariants, keys, queries
from haulout.ledger.apply import HANDLERS, apply_block
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.commands import (
    COMMANDS,
    AdvanceEpoch,
    Created,
    EndVoting,
    Existing,
    OpenSubsidies,
    RegisterBlob,
    ReserveSpace,
    ShareBlob,
    Stake,
)
from haulout.ledger.draft import Draft
from haulout.ledger.genesis import build_development_network
from haulout.ledger.sandbox import Sandbox
from haulout.ledger.state import Phase

WAL = 10**9
SCHEME = KeyedHash()
NETWORK = build_development_network(
    node_addresses={f"node-{i}": (f"127.0.0.1:{7000 + i}",) for i in range(5)},
    n_shards=10,
    stake_frost=2000 * WAL,
    account_funds_frost={"alice": (1 << 63) // 2, "poor": 10},
    genesis_time_ms=1_000_000,
    seed=bytes(32),
    scheme=SCHEME,
    epoch_duration_ms=1_000,
    manual_epochs=True,
)


def worlds() -> dict[Phase, Sandbox]:
    """A ledger with something of everything, in each phase."""
    made = {}
    for phase in Phase:
        world = Sandbox(NETWORK, SCHEME)
        root = bytes(32)
        register = RegisterBlob(Created(0, 0), derive_blob_id(1, 1, root), root, 1, 1, True)
        blob = world.run("alice", ReserveSpace(1 << 20, 0, 9), register).created[1][0]
        world.run("alice", world.certify_blob(Existing(blob), derive_blob_id(1, 1, root), object_id=blob))
        shared = world.run("alice", ReserveSpace(1 << 20, 0, 9), replace(register, deletable=False)).created[1][0]
        world.run("alice", world.certify_blob(Existing(shared), register.blob_id), ShareBlob(Existing(shared), 5 * WAL))
        world.run("alice", ReserveSpace(1 << 20, 0, 9), Stake(world.nodes[0].node_id, 5 * WAL))
        world.run_with(world.nodes[0].governance_secret, OpenSubsidies(1, 1, 1))
        world.add_node("fresh", "alice", 3000 * WAL)
        world.run("alice", AdvanceEpoch(1))
        if phase is not Phase.SYNC:
            world.report_sync_done()
        if phase is Phase.VOTED:
            world.run("alice", EndVoting(2))
        assert queries.phase(world.state) is phase
        made[phase] = world
    return made


WORLDS = worlds()
TABLES = (keys.NODE, keys.STAKED_WAL, keys.STORAGE, keys.BLOB)
IDS = [key[1:] for table in TABLES for key, _ in WORLDS[Phase.DONE].state.scan(*keys.table_range(table))]
IDS += [derive_blob_id(1, 1, bytes(32)), NETWORK.address("alice"), bytes(32)]
refs = st.one_of(st.builds(Existing, st.sampled_from(IDS)), st.builds(Created, st.integers(0, 2), st.integers(0, 1)))


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type, extremes first."""
    name = bcs.codec(hint).name
    if name in ("u8", "u16", "u32", "u64"):
        top = (1 << int(name[1:])) - 1
        return st.one_of(st.sampled_from([0, 1, 2, 3, top, top - 1]), st.integers(0, top))
    if name == "bytes[32]":
        return st.sampled_from(IDS)
    if typing.get_origin(hint) is tuple:
        return st.lists(values(typing.get_args(hint)[0]), max_size=3).map(tuple)
    arguments = typing.get_args(hint)
    if type(None) in arguments:
        return st.one_of(st.none(), *(values(a) for a in arguments if a is not type(None)))
    if name.startswith("bytes["):
        size = int(name[6:-1])
        return st.binary(min_size=size, max_size=size)
    return {"bytes": st.binary(max_size=50), "string": st.text(max_size=20), "bool": st.booleans()}.get(name, refs)


def commands_of(kind: type) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{field.name: values(hints[field.name]) for field in dataclasses.fields(kind)})


def test_every_command_has_a_handler() -> None:
    assert set(HANDLERS) == set(COMMANDS.variants.values())


@pytest.mark.parametrize("kind", COMMANDS.variants.values(), ids=lambda kind: kind.__name__)
@settings(max_examples=settings.default.max_examples // 4, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_takes_or_refuses(data: st.DataObject, kind: type) -> None:
    world = WORLDS[data.draw(st.sampled_from(list(Phase)))]
    node = data.draw(st.sampled_from(world.nodes))
    secret = data.draw(
        st.sampled_from([NETWORK.account_secrets["alice"], node.capability_secret, node.governance_secret])
    )
    asked = data.draw(st.lists(commands_of(kind), min_size=1, max_size=2))
    out = apply_block(world.state, world.head, world.head.time_ms, [world.sign_with(secret, *asked)], SCHEME)
    assert len(out.results) == 1
    if out.results[0].is_ok:
        after = Draft(world.state)
        after.absorb(out.writes)
        invariants.check(after)
