"""What a seed decides before its world begins: how large the network is, what goes wrong in it, who lies.

Every seed draws its own mixture of faults (a swarm): with all kinds always on, the frequent ones would hide what the
rare ones can do. Chance never decides whether a seed is fair: what is damaged for good (`Plan.bad_nodes`) is never
more than f shards, everything else ends before the calm at the end.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from haulout.primitives import max_faulty
from haulout.sim.fabric import Weather
from haulout.sim.rng import SeededRng

WAL: Final = 1_000_000_000

PASSING: Final = (
    "latency",
    "loss",
    "duplication",
    "reordering",
    "partition",
    "process kill",
    "orderly restart",
    "power cut",
    "ledger power cut",
    "pause",
    "clock skew",
    "full disk",
    "forked ledger",
)
"""Faults that come and go; any number of nodes may have them at once."""

LEDGER_KEPT: Final = ("pruned blocks", "lost replica", "lost ledger")
"""What becomes of the ledger as it is kept: everybody prunes it, a node loses its copy, all of it is put together from
the nodes once."""

LASTING: Final = ("bit rot", "lost disk", "liar", "false sync-done")
"""Faults that take something away for good; one node at a time, of at most f shards."""

SET_BACK: Final = "disk set back"
"""The bad node's disk is what it was some time ago; honest in all it does, it has forgotten what it did since."""

DISHONEST: Final = frozenset({"liar", "false sync-done"})
"""Kinds of which the bad node is no honest one: nothing is expected of it, and nothing may be lost through it."""

WRITERS: Final = ("half upload", "abandoned registration", "inconsistent blob")
"""What writers do wrong."""

CHANGES: Final = ("stake swing", "join", "leave")
"""What holders and operators do; see `changes`."""

SHARED: Final = "shared blobs"
"""Blobs belong to nobody, and are paid for by anybody; see `sharing`."""

LIES: Final = ("slivers", "symbols", "metadata", "confirmations", "forgeries", "poverty", "silence")
"""What a liar lies about; see `liars`."""

FREQUENT_LIES: Final = ("slivers", "symbols", "silence")
"""Lies to readers and to those who rebuild: each is told in so many worlds that every kind of reader meets it."""

LIE_KINDS: Final = {lie: f"lie: {lie}" for lie in FREQUENT_LIES}
"""As they are counted."""

HOLD_NODES_OFF: Final = frozenset(PASSING) - {"latency", "loss", "duplication", "reordering"} | {"lost disk"}
"""Kinds with which more than f shards may be away for as long as an epoch of a simulation lasts. Then its end is not
signed, and where blocks are pruned nobody can begin with a snapshot: who lost its replica stays away for good."""

KINDS: Final = (*PASSING, *LEDGER_KEPT, *LASTING, SET_BACK, *WRITERS, *CHANGES, SHARED)

COUNTED: Final = (*KINDS, *LIE_KINDS.values())
"""What the report counts, and finds too rare."""

SHARD_COUNTS: Final = (4, 7, 10, 13, 31)
MANY_SHARDS: Final = (50, 100)
LIGHT_SHARD_COUNTS: Final = (4, 7, 10)
EXTRA_NODES: Final = 4
POOR_FROST: Final = 400 * WAL


@dataclass(frozen=True, slots=True)
class Plan:
    """One seed's world.

    Attributes:
        kinds: faults that happen, of `KINDS`.
        bad_nodes: names of nodes that lie, rot or lose their disk.
        lies: what the bad node lies about beside its shards, of `LIES`.
        epoch_ms: how long an epoch is.
        duration_ms: how long faults and load go on before the calm.
        change_pause_ms: how long holders and operators rest between two changes, at most.
        most_joins: how many nodes join, at most: each makes everything that follows cost more.
        sync_bytes_per_s: how fast a node takes shards in; 0 for no limit.
        rebuilds_by_symbols: nodes have no memory to decode a blob in and rebuild it sliver by sliver, which they would
            hardly ever do otherwise: the blobs of these worlds are small, and requests cost more than bytes.
        has_small_files: nodes put into files what is otherwise small enough for rows.
        has_real_signatures: BLS12-381 instead of the keyed hash.
        is_canary: something happens that no fault does, and that the oracle has to see.
    """

    seed: int
    n_shards: int
    stakes_frost: dict[str, int]
    kinds: frozenset[str]
    bad_nodes: tuple[str, ...] = ()
    lies: frozenset[str] = frozenset()
    epoch_ms: int = 20_000
    duration_ms: int = 60_000
    n_blobs: int = 24
    change_pause_ms: int = 15_000
    most_joins: int = 3
    sync_bytes_per_s: int = 0
    rebuilds_by_symbols: bool = False
    has_small_files: bool = False
    has_real_signatures: bool = False
    is_canary: bool = False
    weather: Weather = field(default_factory=Weather)

    @property
    def is_fair(self) -> bool:
        """Nothing is in a reader's way but stake that moves and liars: what is certified can be read all the time."""
        return self.kinds <= {"latency", "stake swing", "join", "pruned blocks", "lost ledger", SHARED, *DISHONEST}

    @property
    def liars(self) -> frozenset[str]:
        """Names of nodes that do not do as they say."""
        return frozenset(self.bad_nodes) if self.kinds & DISHONEST else frozenset()

    def lighter(self) -> Plan:
        """A smaller world with the same kinds of faults, for as many seeds as fit among other tests."""
        n_shards = LIGHT_SHARD_COUNTS[self.seed % len(LIGHT_SHARD_COUNTS)]
        fewest = -(-n_shards // max_faulty(n_shards))
        names = [f"node-{n}" for n in range(min(n_shards, fewest + self.seed % 2))]
        bad_nodes = (names[self.seed % len(names)],) if self.bad_nodes else ()
        stakes = {name: self.stakes_frost.get(name, 1_000 * WAL) for name in names}
        return replace(
            self,
            n_shards=n_shards,
            stakes_frost=leave_room(stakes, bad_nodes, self.kinds),
            bad_nodes=bad_nodes,
            epoch_ms=10_000,
            duration_ms=26_000,
            n_blobs=10,
            most_joins=1,
            has_real_signatures=False,
        )

    def only(self, *kinds: str) -> Plan:
        """The same world with these faults and no others: to see which one does it."""
        kept = frozenset(kinds) & self.kinds
        return replace(self, kinds=kept, bad_nodes=self.bad_nodes if kept & {*LASTING, SET_BACK} else ())


def draw_plan(seed: int, *, is_canary: bool = False, is_as_kept: bool = False) -> Plan:
    """The world of a seed.

    Args:
        is_as_kept: leave out what is drawn only since the seed was put into the regression list.
    """
    rng = SeededRng(seed, "plan")
    counts = SHARD_COUNTS if rng.below(5) else MANY_SHARDS
    n_shards = counts[rng.below(len(counts))]
    tolerated = max_faulty(n_shards)
    fewest = -(-n_shards // tolerated)
    n_nodes = min(n_shards, fewest + rng.below(EXTRA_NODES + 1))
    names = [f"node-{n}" for n in range(n_nodes)]
    stakes = {name: (1_000 + rng.below(1_000)) * WAL for name in names}

    kinds = {kind for kind in (*PASSING, *LASTING, *WRITERS, *CHANGES) if rng.below(3) == 0}
    lasting = [kind for kind in LASTING if kind in kinds]
    if len(lasting) > 1:
        kinds -= set(lasting) - {lasting[rng.below(len(lasting))]}
    bad_nodes = (names[rng.below(n_nodes)],) if lasting else ()
    lies: frozenset[str] = frozenset()
    if kinds & DISHONEST:
        fewest_lies = 1 if "liar" in kinds else 0
        lies = frozenset(rng.shuffled(LIES)[: fewest_lies + rng.below(3)])
    if "false sync-done" in kinds:
        kinds.add("stake swing")  # there is nothing to lie about where no shard moves
    later = SeededRng(seed, "plan/ledger kept")  # apart, so that the kinds above are drawn as they were without these
    kinds |= {kind for kind in LEDGER_KEPT if later.below(5) == 0}
    if "pruned blocks" in kinds:
        kinds -= HOLD_NODES_OFF
    rebuilds_by_symbols = False
    if not is_as_kept:
        since = SeededRng(seed, "plan/since")  # apart too
        if since.below(3) == 0:
            kinds.add(SHARED)
        if kinds & DISHONEST:
            lies |= {lie for lie in FREQUENT_LIES if since.below(2) == 0}
        if "symbols" in lies:
            lies -= {"poverty"}  # who says that it has nothing hands out no wrong ones
        rebuilds_by_symbols = "symbols" in lies or since.below(5) == 0
        # Of what it has signed only the ledger can remind it; and it signs nothing for an epoch (see `HOLD_NODES_OFF`).
        if since.below(2) == 0 and not kinds & {*DISHONEST, "forked ledger", "pruned blocks"}:
            kinds.add(SET_BACK)
            bad_nodes = bad_nodes or (names[since.below(n_nodes)],)
    return Plan(
        seed=seed,
        n_shards=n_shards,
        stakes_frost=leave_room(stakes, bad_nodes, kinds),
        kinds=frozenset(kinds),
        bad_nodes=bad_nodes,
        lies=lies,
        epoch_ms=10_000 + rng.below(10_000),
        duration_ms=36_000 + rng.below(40_000),
        n_blobs=18 + rng.below(14),
        has_real_signatures=rng.below(50) == 0,
        is_canary=is_canary,
        weather=_weather(rng, kinds),
        has_small_files=rng.below(2) == 0,
        rebuilds_by_symbols=rebuilds_by_symbols,
    )


def leave_room(stakes_frost: dict[str, int], bad_nodes: Iterable[str], kinds: Container[str]) -> dict[str, int]:
    """Have a node that is to lie about shards it gains begin with few, for it can only gain what it lacks."""
    if "false sync-done" not in kinds:
        return stakes_frost
    return {**stakes_frost, **dict.fromkeys(bad_nodes, POOR_FROST)}


def _weather(rng: SeededRng, kinds: set[str]) -> Weather:
    weather = Weather()
    if "latency" in kinds:
        weather.delay_us_max = (20_000, 100_000, 400_000)[rng.below(3)]
    if "loss" in kinds:
        weather.loss_per_million = 1_000 + rng.below(20_000)
    if "duplication" in kinds:
        weather.duplicate_per_million = 5_000 + rng.below(50_000)
    if "reordering" in kinds:
        weather.straggler_per_million = 5_000 + rng.below(30_000)
    return weather
