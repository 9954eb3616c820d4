"""A small world: five nodes of equal stake on ten shards, three funded accounts, epoch 1."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import queries
from haulout.ledger.commands import AdvanceEpoch, EndVoting
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
        manual_epochs=True,
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
    """Let epochs pass with the same committee, all nodes reporting."""

    def move(epoch: int) -> None:
        for before in range(queries.system(world.state).epoch, epoch):
            assert world.run("poor", AdvanceEpoch(before)).is_ok
            world.report_sync_done()

    return move


@pytest.fixture
def enter_phase(world: Sandbox) -> Callable[[Phase], None]:
    """Go on until the epoch is in a phase."""

    def enter(phase: Phase) -> None:
        epoch = queries.system(world.state).epoch
        if phase is Phase.VOTED:
            due_ms = queries.staking(world.state).phase_since_ms + world.network.genesis.epoch_duration_ms // 2
            world.apply([world.sign("poor", EndVoting(epoch), valid_until_ms=due_ms)], time_ms=due_ms)
        elif phase is Phase.SYNC:
            world.run("poor", AdvanceEpoch(epoch))
        assert queries.phase(world.state) is phase

    return enter
