"""Faults while clients work: what was certified stays readable, and when faults stop everything gets well."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from haulout.chain import tree
from haulout.client.store import NewlyCreated
from haulout.errors import HauloutError
from haulout.ledger import invariants
from haulout.primitives import BlobId
from haulout.replica.ledger_rows import FIRST_OWN
from haulout.sim.fabric import Weather
from haulout.sim.loop import run
from haulout.sim.machine import Machine
from haulout.sim.plan import SET_BACK, draw_plan
from haulout.sim.processes import LEDGER
from haulout.sim.rng import SeededRng
from haulout.sim.scenarios import small
from haulout.sim.store import StoreMedium
from haulout.sim.story import play
from haulout.sim.world import World
from haulout.world.memory_store import MemoryStore

SIZES_BYTES = (0, 1, 4_000, 60_000, 300_000)


async def check_well(world: World, stored: dict[BlobId, bytes]) -> None:
    """Everything that was certified is complete everywhere and reads back; all replicas agree."""
    for name in world.node_names:
        await world.until(lambda name=name: world.is_complete(name), f"{name} is complete")  # type: ignore[misc]
    for blob_id, data in stored.items():
        assert await world.client("alice").read(blob_id) == data
    sequencer = world.hosts[LEDGER].sequencer
    assert sequencer is not None
    rows = sequencer.store.view.scan(b"", b"\xff" * 40)
    invariants.check(MemoryStore({key: value for key, value in rows if not FIRST_OWN <= key < tree.PREFIX}))
    for host in world.hosts.values():
        assert host.replica is None or host.replica.head == sequencer.head
        assert host.replica is None or host.replica.diverged is None


async def machines_fail_in_turn(seed: int) -> str:
    """Every machine but the client's loses power once while blobs are being stored."""
    rng = SeededRng(seed, "faults")
    async with World(seed, weather=Weather(loss_per_million=rng.below(3) * 5_000)) as world:
        alice = world.client("alice")
        stored: dict[BlobId, bytes] = {}
        for name in rng.shuffled((*world.node_names, LEDGER)):
            data = rng.random_bytes(SIZES_BYTES[rng.below(len(SIZES_BYTES))])
            faults = Machine("faults").start(_fail(world, rng, name), name=name)
            try:
                result = await alice.store(data)
            except HauloutError as e:
                world.fabric.note(f"not stored: {e.code}")
            else:
                stored[result.blob_id] = data
                assert await alice.read(result.blob_id) == data
            await faults
        world.fabric.weather.loss_per_million = 0
        await check_well(world, stored)
        last = await alice.store(b"all is well")
        assert isinstance(last, NewlyCreated) and stored
    return world.trace.digest()


async def _fail(world: World, rng: SeededRng, name: str) -> None:
    clock = world.hosts[name].clock
    await clock.sleep_ms(rng.below(120))
    await world.kill(name)
    await clock.sleep_ms(rng.below(4_000))
    await world.restart(name)


@pytest.mark.parametrize("seed", range(8))
def test_what_was_certified_survives_power_cuts(seed: int) -> None:
    run(machines_fail_in_turn(seed), seed)


def test_a_run_with_faults_is_one_run_too() -> None:
    assert run(machines_fail_in_turn(3), 3) == run(machines_fail_in_turn(3), 3)


def test_a_node_cut_off_from_the_others_catches_up() -> None:
    async def story() -> None:
        async with World(5) as world:
            others = [name for name in world.hosts if name != "node-1"]
            world.fabric.partition(["node-1"], others)
            result = await world.client("alice").store(b"without node-1 " * 2_000)
            assert await world.client("alice").read(result.blob_id) == b"without node-1 " * 2_000
            world.fabric.heal()
            await check_well(world, {result.blob_id: b"without node-1 " * 2_000})

    run(story(), 5)


def test_a_node_whose_disk_is_full_starts_with_what_it_has_and_an_empty_one_when_there_is_space() -> None:
    async def story() -> None:
        async with World(1) as world:
            host = world.hosts["node-2"]
            await world.kill(host.name)
            host.rows.is_full = True
            await world.restart(host.name)
            assert host.node is not None, "it has rows"
            await world.kill(host.name)
            host.rows = StoreMedium()
            host.rows.is_full = True
            starting = asyncio.ensure_future(world.restart(host.name))
            await host.clock.sleep_ms(60_000)
            assert not starting.done() and host.node is None
            host.rows.is_full = False
            await starting
            assert host.node is not None

    run(story(), 1)


def test_a_node_whose_disk_was_set_back_gets_the_shards_again_that_it_had_reported() -> None:
    plan = small(draw_plan(1), "stake swing", SET_BACK, n_shards=10, n_nodes=5)
    run_of_it = play(replace(plan, change_pause_ms=4_000, n_blobs=10))
    assert run_of_it.violation is None
    assert run_of_it.faults[SET_BACK] > 0
