"""A small world: five nodes of equal stake on ten shards, three funded accounts, epoch 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from haulout import bcs
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import keys, queries
from haulout.ledger.genesis import DevelopmentNetwork, build_development_network
from haulout.ledger.sandbox import Sandbox
from haulout.ledger.state import Phase

WAL = 10**9


@pytest.fixture(scope="session")
def network() -> DevelopmentNetwork:
    return build_development_network(
        node_addresses={f"node-{i}": (f"127.0.0.1:{7000 + i}",) for i in range(5)},
        n_shards=10,
        stake_frost=2000 * WAL,
        account_funds_frost={"alice": 1000 * WAL, "bob": 1000 * WAL, "poor": 10},
        genesis_time_ms=1_000_000,
        seed=bytes(32),
        scheme=KeyedHash(),
        node_capacity_bytes=1 << 30,
    )


@pytest.fixture
def world(network: DevelopmentNetwork) -> Sandbox:
    return Sandbox(network, KeyedHash())


@pytest.fixture
def manual() -> Sandbox:
    """The same with rich accounts and epochs that are advanced by hand."""
    network = build_development_network(
        node_addresses={f"node-{i}": (f"127.0.0.1:{7000 + i}",) for i in range(5)},
        n_shards=10,
        stake_frost=2000 * WAL,
        account_funds_frost={"alice": 100_000 * WAL, "bob": 100_000 * WAL, "poor": 10},
        genesis_time_ms=1_000_000,
        seed=bytes(32),
        scheme=KeyedHash(),
        node_capacity_bytes=1 << 30,
        manual_epochs=True,
    )
    return Sandbox(network, KeyedHash())


@pytest.fixture
def move_to_epoch(world: Sandbox) -> Callable[[int], None]:
    """Let epochs pass with the same committee; epochs do not advance by themselves yet."""

    def move(epoch: int) -> None:
        system = queries.system(world.state)
        committee = replace(queries.committee(world.state), epoch=epoch)
        past = [queries.bucket(world.state, e).rewards_frost for e in range(system.epoch, epoch)]
        current = queries.bucket(world.state, epoch)
        world.write_rows(
            {
                keys.SYSTEM: bcs.encode(replace(system, epoch=epoch)),
                keys.committee(epoch): bcs.encode(committee),
                keys.STAKING: bcs.encode(replace(queries.staking(world.state), previous_epoch=system.epoch)),
                **{keys.bucket(e): None for e in range(system.epoch, epoch)},
                keys.bucket(epoch): bcs.encode(replace(current, rewards_frost=current.rewards_frost + sum(past))),
            }
        )

    return move


@pytest.fixture
def enter_phase(world: Sandbox) -> Callable[[Phase], None]:
    """Put the epoch into another phase."""

    def enter(phase: Phase) -> None:
        world.write_rows({keys.STAKING: bcs.encode(replace(queries.staking(world.state), phase=phase))})

    return enter
