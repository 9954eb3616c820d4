"""Worlds that stress one part: where a mistake in that part has to show within a hundred seeds.

A scenario changes what a seed has drawn and nothing else, so it is replayed by its name and the seed. Each is named
after the mistake that it is to find; `tests/simulation/planted` has these mistakes as patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from haulout.sim.fabric import Weather
from haulout.sim.plan import DISHONEST, SET_BACK, WAL, Plan, draw_plan, leave_room
from haulout.sim.rng import SeededRng
from haulout.sim.story import play

SLOW_US: Final = 400_000


def scenario_plan(name: str, seed: int) -> Plan:
    """The world of a seed in a scenario.

    Raises:
        KeyError: there is no such scenario.
    """
    return SCENARIOS[name](draw_plan(seed))


def find_violation(name: str, seeds: Iterable[int]) -> tuple[int, str] | None:
    """Play seeds of a scenario until something happens that may never happen: which seed, and what."""
    for seed in seeds:
        run = play(scenario_plan(name, seed))
        if run.violation is not None:
            return seed, run.violation
    return None


def small(plan: Plan, *kinds: str, n_shards: int = 4, n_nodes: int = 4, slow: bool = False) -> Plan:
    """A small network, a short time, and just these kinds of faults."""
    rng = SeededRng(plan.seed, "scenario")
    names = [f"node-{n}" for n in range(n_nodes)]
    stakes = {name: (1_000 + rng.below(1_000)) * WAL for name in names}
    bad_nodes = (names[rng.below(n_nodes)],) if {*DISHONEST, SET_BACK}.intersection(kinds) else ()
    return replace(
        plan,
        n_shards=n_shards,
        stakes_frost=leave_room(stakes, bad_nodes, kinds),
        kinds=frozenset(kinds),
        bad_nodes=bad_nodes,
        lies=frozenset(),
        epoch_ms=10_000 + rng.below(5_000),
        duration_ms=40_000,
        n_blobs=16,
        has_real_signatures=False,
        weather=Weather(delay_us_max=SLOW_US) if slow else Weather(),
    )


def write_quorum_off_by_one(plan: Plan) -> Plan:
    """Nodes are away while blobs are stored."""
    return small(plan, "process kill", "pause", "partition")


def confirmation_before_sync(plan: Plan) -> Plan:
    """Nodes lose power all the time."""
    return small(plan, "power cut")


def certificate_epoch_unchecked(plan: Plan) -> Plan:
    """Blobs are stored while one epoch follows the other, and messages take their time."""
    return replace(small(plan, "latency", slow=True), n_blobs=32)


def shard_deleted_before_hand_over(plan: Plan) -> Plan:
    """Shards move to nodes that take them slowly or are away."""
    moving = small(plan, "stake swing", "join", "pause", "process kill", n_shards=10, n_nodes=5)
    return replace(moving, sync_bytes_per_s=2_000, duration_ms=60_000)


def sync_done_with_one_blob_missing(plan: Plan) -> Plan:
    """Shards move and whoever has them cannot always be reached."""
    return small(plan, "stake swing", "join", "partition", "pause", "process kill", n_shards=10, n_nodes=5)


def sliver_hash_unchecked(plan: Plan) -> Plan:
    """A node hands out wrong slivers."""
    return replace(small(plan, "liar"), lies=frozenset({"slivers"}))


def reward_rounded_up(plan: Plan) -> Plan:
    """Epochs end in which something was earned."""
    return small(plan, n_shards=7, n_nodes=5)


def withdrawal_paid_twice(plan: Plan) -> Plan:
    """Holders stake, take their stake back, and ask for it once more."""
    return replace(small(plan, "stake swing"), change_pause_ms=3_000)


def checkpoint_signed_twice(plan: Plan) -> Plan:
    """Nodes lose their replica and are brought up from a ledger that went another way."""
    return small(plan, "forked ledger")


def read_from_new_committee(plan: Plan) -> Plan:
    """Half of the shards move at once, slowly, and one node does not give what it has."""
    moving = small(plan, "stake swing", "liar", n_nodes=8, slow=True)
    richest = max(moving.stakes_frost, key=lambda name: moving.stakes_frost[name])
    return replace(
        moving,
        bad_nodes=(richest,),
        lies=frozenset({"poverty"}),
        change_pause_ms=3_000,
        sync_bytes_per_s=1_000,
        duration_ms=60_000,
    )


SCENARIOS: Final[dict[str, Callable[[Plan], Plan]]] = {
    "write-quorum-off-by-one": write_quorum_off_by_one,
    "confirmation-before-sync": confirmation_before_sync,
    "certificate-epoch-unchecked": certificate_epoch_unchecked,
    "shard-deleted-before-hand-over": shard_deleted_before_hand_over,
    "sync-done-with-one-blob-missing": sync_done_with_one_blob_missing,
    "sliver-hash-unchecked": sliver_hash_unchecked,
    "reward-rounded-up": reward_rounded_up,
    "withdrawal-paid-twice": withdrawal_paid_twice,
    "checkpoint-signed-twice": checkpoint_signed_twice,
    "read-from-new-committee": read_from_new_committee,
}
