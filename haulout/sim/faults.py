"""What goes wrong in a world, kind by kind. To add one: a coroutine here, a line in `CATALOGUE`, its name in `plan`.

A fault runs for the whole time of troubles, does its thing at moments that the seed picks, counts each time that it
did, and leaves nothing behind that `end_troubles` does not mend. Several work on one machine only when that can be:
whoever wants to switch a machine off or on holds its lock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from haulout.errors import HauloutError
from haulout.ledger.commands import Stake
from haulout.node.records import BLOB, METADATA, PIECE, SLIVER, STRIPED
from haulout.sim.clock import VirtualClock
from haulout.sim.disk import DiskMedium
from haulout.sim.fabric import USUAL_DELAY_US
from haulout.sim.plan import SET_BACK, WAL, Plan
from haulout.sim.processes import FORK, LEDGER
from haulout.sim.rng import SeededRng
from haulout.sim.store import StoreMedium
from haulout.sim.world import World

LONGEST_PAUSE_MS: Final = 30_000
LARGEST_SKEW_MS: Final = 3_600_000
AWAITS: Final = 30


@dataclass
class Troubles:
    """The faults of one world.

    Attributes:
        holder: an account with money.
        happened: how often each kind did.
        damaged: nodes whose disk no longer holds what they have signed for.
    """

    world: World
    plan: Plan
    rng: SeededRng
    holder: str
    happened: Counter[str] = field(default_factory=Counter)
    damaged: dict[str, None] = field(default_factory=dict)

    async def run(self) -> None:
        """All faults of the plan, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for kind, fault in CATALOGUE.items():
                if kind in self.plan.kinds:
                    tasks.create_task(self._keep_going(fault, self.rng.fork(kind)), name=kind)
            if self.plan.is_canary:
                tasks.create_task(self._keep_going(forget, self.rng.fork("canary")), name="canary")

    async def end(self) -> None:
        """Wires, clocks, disks and machines are well again; what was lost stays lost."""
        world = self.world
        self.happened.update(world.fabric.happened)
        world.fabric.heal()
        calm = world.fabric.weather
        calm.loss_per_million = calm.straggler_per_million = calm.duplicate_per_million = 0
        calm.delay_us_max = USUAL_DELAY_US
        await world.stop_starting_anew()
        for name in sorted(world.misled):
            await world.restore_replica(name, misled=False)
        if FORK in world.hosts:
            await world.end_fork()
        for name, host in world.hosts.items():
            host.clock.skew_ms = 0
            host.rows.is_full = host.state.is_full = False
            host.files.capacity_bytes = DiskMedium().capacity_bytes
            host.machine.resume()
            is_stopping = host.node is not None and host.node.status() == "Stopping"
            if host.machine.is_on and (is_stopping or not host.has_started):
                await world.kill(name, loses_writes=False)
        # All at once: who begins with a snapshot waits for the others to attest it.
        off = [name for name, host in world.hosts.items() if not host.machine.is_on]
        await asyncio.gather(*(world.restart(name) for name in off))

    def lock(self, name: str) -> asyncio.Lock:
        """Held by whoever switches a machine off, until it is on again."""
        return self.world.lock(name)

    async def _keep_going(self, fault: Fault, rng: SeededRng) -> None:
        clock = VirtualClock()
        while True:
            await clock.sleep_ms(500 + rng.below(15_000))
            await fault(self, rng)


Fault = Callable[[Troubles, SeededRng], Awaitable[None]]


# --- wires --------------------------------------------------------------------------------------------------


async def partition(troubles: Troubles, rng: SeededRng) -> None:
    """Some machines cannot reach the others, or are not reached by them."""
    world = troubles.world
    names = rng.shuffled(world.hosts)
    side = names[: 1 + rng.below(max(1, len(names) // 2))]
    others = names[len(side) :]
    world.fabric.note(f"partition {' '.join(side)}")
    world.fabric.partition(side, others, one_way=rng.below(2) == 0)
    await VirtualClock().sleep_ms(rng.below(LONGEST_PAUSE_MS))
    world.fabric.heal()


# --- machines -----------------------------------------------------------------------------------------------


async def switch_off(troubles: Troubles, rng: SeededRng, name: str, *, loses_writes: bool) -> None:
    """End a machine's process between any two of its steps, and start it again later."""
    world, clock = troubles.world, VirtualClock()
    async with troubles.lock(name):
        for _ in range(rng.below(AWAITS)):
            await asyncio.sleep(0)
        await world.kill(name, loses_writes=loses_writes)
        await clock.sleep_ms(rng.below(LONGEST_PAUSE_MS >> rng.below(8)))
        await world.restart(name)


async def process_kill(troubles: Troubles, rng: SeededRng) -> None:
    """A process dies; what it has written stays."""
    name = (*troubles.world.node_names, LEDGER)[rng.below(len(troubles.world.node_names) + 1)]
    troubles.happened["process kill"] += 1
    await switch_off(troubles, rng, name, loses_writes=False)


async def orderly_restart(troubles: Troubles, rng: SeededRng) -> None:
    """A node is asked to end, as for an upgrade, and finishes what it has begun."""
    name = troubles.world.any_node_name(rng)
    async with troubles.lock(name):
        troubles.happened["orderly restart"] += 1
        await troubles.world.stop(name)
        await troubles.world.restart(name)


async def power_cut(troubles: Troubles, rng: SeededRng) -> None:
    """A node loses power, and with it writes that were not synced; the last of them is torn."""
    troubles.happened["power cut"] += 1
    await switch_off(troubles, rng, troubles.world.any_node_name(rng), loses_writes=True)


async def ledger_power_cut(troubles: Troubles, rng: SeededRng) -> None:
    """The ledger loses power, and with it writes that were not synced."""
    troubles.happened["ledger power cut"] += 1
    await switch_off(troubles, rng, LEDGER, loses_writes=True)


async def pause(troubles: Troubles, rng: SeededRng) -> None:
    """A machine stands still for a while and then goes on as if nothing had been."""
    name = (*troubles.world.node_names, LEDGER)[rng.below(len(troubles.world.node_names) + 1)]
    async with troubles.lock(name):
        machine = troubles.world.hosts[name].machine
        troubles.world.fabric.note(f"pause {name}")
        troubles.happened["pause"] += 1
        machine.pause()
        await VirtualClock().sleep_ms(1_000 + rng.below(LONGEST_PAUSE_MS))
        machine.resume()


async def clock_skew(troubles: Troubles, rng: SeededRng) -> None:
    """A node believes in another time, by up to an hour."""
    host = troubles.world.hosts[troubles.world.any_node_name(rng)]
    host.clock.skew_ms = rng.below(2 * LARGEST_SKEW_MS) - LARGEST_SKEW_MS
    troubles.happened["clock skew"] += 1
    troubles.world.fabric.note(f"{host.name} is {host.clock.skew_ms} ms off")


# --- the ledger ---------------------------------------------------------------------------------------------


async def forked_ledger(troubles: Troubles, rng: SeededRng) -> None:
    """A copy of the ledger goes on by itself, and a node that lost its replica is brought up from it, for a while."""
    world, clock = troubles.world, VirtualClock()
    name = troubles.world.any_node_name(rng)
    async with troubles.lock(LEDGER):
        copy = StoreMedium()
        copy.durable = world.hosts[LEDGER].state.rows()
    await clock.sleep_ms(1_000 + rng.below(5_000))  # meanwhile the true one goes on, and the node signs that it does
    async with troubles.lock(name):
        troubles.happened["forked ledger"] += 1
        await world.fork_ledger(copy)
        await world.restore_replica(name, misled=True)
        with contextlib.suppress(HauloutError):
            await world.wallet_at_fork(troubles.holder).execute([Stake(world.secrets(name).node_id, WAL)])
        await clock.sleep_ms(1_000 + rng.below(10_000))
        await world.restore_replica(name, misled=False)
        await world.end_fork()


async def lost_replica(troubles: Troubles, rng: SeededRng) -> None:
    """A node loses its copy of the ledger, and nothing else; where blocks are pruned it begins with a snapshot.

    One at a time: of two with more than f shards each would wait for the other to attest the snapshot.
    """
    world, clock = troubles.world, VirtualClock()
    name = world.any_node_name(rng)
    async with troubles.lock("lost replica"):
        async with troubles.lock(name):
            troubles.happened["lost replica"] += 1
            await world.restore_replica(name, misled=False)
        while not world.is_level(name):
            await clock.sleep_ms(100)


# --- disks --------------------------------------------------------------------------------------------------


async def full_disk(troubles: Troubles, rng: SeededRng) -> None:
    """A node's disk is full for a while: its rows, its files or the ledger it keeps."""
    host = troubles.world.hosts[troubles.world.any_node_name(rng)]
    what = rng.below(3)
    if what == 0:
        host.rows.is_full = True
    elif what == 1:
        host.state.is_full = True
    else:
        host.files.capacity_bytes = host.files.used_bytes() + rng.below(10_000)
    troubles.happened["full disk"] += 1
    troubles.world.fabric.note(f"the disk of {host.name} is full")
    await VirtualClock().sleep_ms(1_000 + rng.below(LONGEST_PAUSE_MS))
    host.rows.is_full = host.state.is_full = False
    host.files.capacity_bytes = DiskMedium().capacity_bytes


async def bit_rot(troubles: Troubles, rng: SeededRng) -> None:
    """A bit of a stored sliver or of metadata flips on a disk."""
    host = troubles.world.hosts[troubles.plan.bad_nodes[0]]
    async with troubles.lock(host.name):
        if flip_in_files(host.files, rng) or flip_in_rows(host.rows, rng):
            troubles.damaged[host.name] = None
            troubles.happened["bit rot"] += 1
            troubles.world.fabric.note(f"a bit flips on {host.name}")
            await troubles.world.kill(host.name, loses_writes=False)  # a process that runs has read its rows before
            await troubles.world.restart(host.name)


async def lost_disk(troubles: Troubles, rng: SeededRng) -> None:
    """A node comes back with an empty disk, once."""
    name = troubles.plan.bad_nodes[0]
    host = troubles.world.hosts[name]
    async with troubles.lock(name):
        if troubles.happened["lost disk"]:
            return
        troubles.happened["lost disk"] += 1
        troubles.damaged[name] = None
        await troubles.world.kill(name)
        host.state, host.rows, host.files = StoreMedium(), StoreMedium(), DiskMedium()
        await VirtualClock().sleep_ms(rng.below(LONGEST_PAUSE_MS))
        await troubles.world.restart(name)


async def set_back_disk(troubles: Troubles, rng: SeededRng) -> None:
    """A node is brought up from a copy of its disk that was made a while ago."""
    name = troubles.plan.bad_nodes[0]
    host = troubles.world.hosts[name]
    async with troubles.lock(name):
        copies = host.state.copy(), host.rows.copy(), host.files.copy()
    await VirtualClock().sleep_ms(rng.below(LONGEST_PAUSE_MS >> rng.below(3)))
    async with troubles.lock(name):
        troubles.happened[SET_BACK] += 1
        troubles.damaged[name] = None
        troubles.world.fabric.note(f"the disk of {name} is set back")
        await troubles.world.kill(name)
        host.state, host.rows, host.files = copies
        await troubles.world.restart(name)


async def forget(troubles: Troubles, rng: SeededRng) -> None:
    """Planted, to see whether the oracle does: a node that nobody calls damaged loses rows that it had synced."""
    host = troubles.world.hosts[troubles.world.any_node_name(rng)]
    async with troubles.lock(host.name):
        await troubles.world.kill(host.name, loses_writes=False)
        host.rows.flush()
        for key in [key for key in host.rows.durable if key[:1] in (SLIVER, BLOB, PIECE, STRIPED)]:
            del host.rows.durable[key]
        await troubles.world.restart(host.name)


def flip_in_files(medium: DiskMedium, rng: SeededRng) -> bool:
    """Flip a bit in one file; says whether there was one."""
    paths = sorted(path for path, data in medium.durable.items() if data)
    if not paths or rng.below(2):
        return False
    path = paths[rng.below(len(paths))]
    data = bytearray(medium.durable[path])
    data[rng.below(len(data))] ^= 1 << rng.below(8)
    medium.files[path] = medium.durable[path] = bytes(data)
    return True


def flip_in_rows(medium: StoreMedium, rng: SeededRng) -> bool:
    """Flip a bit in the row of a sliver, of a piece of one or of metadata; says whether there was one."""
    keys = sorted(key for key, value in medium.durable.items() if key[:1] in (SLIVER, PIECE, METADATA) and value)
    if not keys:
        return False
    key = keys[rng.below(len(keys))]
    value = bytearray(medium.durable[key])
    value[rng.below(len(value))] ^= 1 << rng.below(8)
    medium.durable[key] = bytes(value)
    return True


CATALOGUE: Final[dict[str, Fault]] = {
    "partition": partition,
    "process kill": process_kill,
    "orderly restart": orderly_restart,
    "power cut": power_cut,
    "ledger power cut": ledger_power_cut,
    "pause": pause,
    "clock skew": clock_skew,
    "full disk": full_disk,
    "forked ledger": forked_ledger,
    "lost replica": lost_replica,
    "bit rot": bit_rot,
    "lost disk": lost_disk,
    SET_BACK: set_back_disk,
}
