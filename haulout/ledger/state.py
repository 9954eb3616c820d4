"""The ledger's state: typed values under ordered keys, read and written through a view.

Nothing needs the whole state in memory: a view answers `get` and `scan` from wherever the rows live, and a draft
lays a transaction's writes over it. Every value starts with its schema version. Tables whose prefix is below
`FIRST_DERIVED` are committed by the state root; those from it on are indexes that follow from the others, kept for
speed and rebuilt at will.

    01 name                   singletons: params, system, staking, next, subsidies
    02 epoch                  Bucket: booked bytes and rewards of one epoch of the ring
    03 epoch                  Committee of that epoch
    10 address                Account
    11 valid_until digest     Receipt of a transaction, until it expires
    20 object id              Storage
    21 object id              Blob
    22 blob id                BlobRecord: all objects with one blob id, summed up
    23 blob id                invalid marker
    24 node id                Node (its pool included)
    25 object id              StakedWal
    26 epoch shard            HandOver of a shard that changes owner in that epoch
    27 key                    unique node public keys
    28 name                   unique node names
    29 node id                PoolSchedule: what a pool does in later epochs
    2a node id, epoch         ExchangeRate of a pool's shares, for epochs in which it was advanced
    2b object id              SharedBlob: the funds of a blob that has no owner any more
    80 owner kind object id   what an account owns
    81 blob id certified end object id  undeleted, unburned objects of a blob id, by whether certified and by end
    82 end blob id            blob ids by the end of their certified life
    83 from node epoch shard  open hand-overs by who gives
    84 to node epoch shard    open hand-overs by who takes
    85 shard epoch            open hand-overs by shard
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from haulout.bcs import U8, U16, U32, U64, Bytes32, Bytes48

FIRST_DERIVED = 0x80
STATE_VERSION = 1
NOBODY: Final = bytes(32)  # owner of what is shared: no key has this address


class View(Protocol):
    """Read access to ordered rows; what a ledger function may ask of the world."""

    def get(self, key: bytes) -> bytes | None:
        """The value under a key, or None."""

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in key order, or from the end with `reverse`."""


class Phase(enum.IntEnum):
    """Where the epoch stands: `Done -> Voted -> Sync -> Done`."""

    DONE = 0
    VOTED = 1
    SYNC = 2


class ObjectKind(enum.IntEnum):
    """What an account can own."""

    STORAGE = 0
    BLOB = 1
    STAKED_WAL = 2


@dataclass(frozen=True, slots=True)
class Params:
    """Fixed at genesis."""

    version: U8
    chain_id: Bytes32
    n_shards: U16
    epoch_duration_ms: U64
    max_epochs_ahead: U32
    max_blob_bytes: U64
    genesis_time_ms: U64
    manual_epochs: bool
    driver_grace_ms: U64
    allow_unsafe: bool
    hysteresis_bps: U16


@dataclass(frozen=True, slots=True)
class System:
    """Prices, capacity and the rules' version."""

    version: U8
    epoch: U32
    protocol_version: U32
    next_protocol: tuple[U32, U32] | None  # (version, from epoch)
    total_capacity_bytes: U64
    storage_price_frost: U64  # per started MiB of encoded size and epoch
    write_price_frost: U64  # per started MiB of encoded size, once
    supply_frost: U64
    burned_frost: U64
    next_sequence: U64  # of the next event


@dataclass(frozen=True, slots=True)
class Staking:
    """The epoch's phase and who may become a member."""

    version: U8
    phase: Phase
    forced: bool
    phase_since_ms: U64  # Done: when; Voted: the Done before; Sync: the change
    sync_weight: U16
    previous_epoch: U32 | None  # whose committee is under 03 too
    active_set: tuple[tuple[Bytes32, U64], ...]  # (node id, stake) in slot order


@dataclass(frozen=True, slots=True)
class NextEpoch:
    """What voting end fixed for the next epoch besides its committee, which is under 03 already."""

    version: U8
    total_capacity_bytes: U64


@dataclass(frozen=True, slots=True)
class Subsidies:
    """The network's fund for subsidies; there is none until somebody opens it."""

    version: U8
    admin: Bytes32
    usage_rate_bps: U32  # of what users pay
    base_frost: U64  # to each member, per epoch
    per_shard_frost: U64  # and for each of its shards
    balance_frost: U64
    latest_epoch: U32  # in which the fixed part was paid
    already_frost: Mapping[U32, U64]  # epoch -> rewards that are subsidised, or never will be


@dataclass(frozen=True, slots=True)
class Bucket:
    """Booking of one epoch: encoded bytes sold, rewards collected for its committee."""

    version: U8
    used_bytes: U64
    rewards_frost: U64


@dataclass(frozen=True, slots=True)
class Member:
    """A committee member; the order of its shards matters to the next transition."""

    node_id: Bytes32
    public_key: Bytes48
    shards: tuple[U16, ...]

    @property
    def weight(self) -> int:
        return len(self.shards)


@dataclass(frozen=True, slots=True)
class Committee:
    """Who holds which shards in an epoch; members sorted by node id."""

    version: U8
    epoch: U32
    members: tuple[Member, ...]

    @property
    def n_shards(self) -> int:
        return sum(member.weight for member in self.members)

    def owner_of(self, shard_index: int) -> Member:
        """The member that owns a shard."""
        return next(member for member in self.members if shard_index in member.shards)


@dataclass(frozen=True, slots=True)
class Account:
    """What an address holds in free FROST."""

    version: U8
    balance_frost: U64


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction, remembered until its `valid_until_ms` has passed."""

    version: U8
    height: U64
    index: U32


@dataclass(frozen=True, slots=True)
class Storage:
    """Encoded bytes bought for epochs [start, end), not bound to a blob."""

    version: U8
    owner: Bytes32
    start_epoch: U32
    end_epoch: U32
    size_bytes: U64


@dataclass(frozen=True, slots=True)
class Blob:
    """One registration of a blob, with the storage bound to it."""

    version: U8
    owner: Bytes32
    blob_id: Bytes32
    size_bytes: U64  # unencoded
    encoding_type: U8
    registered_epoch: U32
    certified_epoch: U32 | None
    deletable: bool
    storage_id: Bytes32
    start_epoch: U32
    end_epoch: U32
    storage_size_bytes: U64
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SharedBlob:
    """What there is for extensions of a blob that belongs to nobody; its `Blob` row has the same id."""

    version: U8
    funds_frost: U64


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """All objects with one blob id, summed up; what existence, status and retention are read from.

    Counts are of undeleted objects, expired and burned ones included; ends are epochs in which the blob is gone. A
    blob exists in epoch E when `certified_end_epoch` is set and greater than E.
    """

    version: U8
    size_bytes: U64
    encoding_type: U8
    root_hash: Bytes32
    registered_end_epoch: U32  # the latest end over all live registrations
    certified_end_epoch: U32 | None  # the latest end over all live certified ones
    initial_certified_epoch: U32 | None
    permanent_end_epoch: U32 | None  # the latest end over permanent ones, certified first
    permanent_certified: bool
    permanent_total: U32
    deletable_total: U32
    deletable_certified: U32
    certified_height: U64 | None  # block of the first certification
    certified_sequence: U64 | None  # event of the first certification
    burned_end_epoch: U32 | None = None  # the latest end over burned objects: they have no row of their own any more
    burned_certified_end_epoch: U32 | None = None  # the same over burned certified ones


@dataclass(frozen=True, slots=True)
class Node:
    """A storage node's record and its staking pool."""

    version: U8
    name: str
    addresses: tuple[str, ...]
    public_key: Bytes48
    next_public_key: Bytes48 | None
    network_public_key: bytes
    governance: Bytes32  # account that leaves, sets commission, collects it
    capability: Bytes32  # account that reports sync-done, votes, changes addresses
    registered_epoch: U32
    activation_epoch: U32
    leaving: bool
    last_sync_done_epoch: U32
    storage_price_frost: U64
    write_price_frost: U64
    node_capacity_bytes: U64
    commission_rate_bps: U16
    commission_frost: U64
    commission_blocked_frost: U64
    balance_frost: U64  # active stake, principal and rewards
    n_shares: U64
    rewards_frost: U64
    pending_stake: Mapping[U32, U64]  # epoch -> principal to add


@dataclass(frozen=True, slots=True)
class PoolSchedule:
    """What a node's pool does in later epochs; without a row nothing, and the pool was never advanced.

    Keys are epochs. Whoever asks for less than the whole row uses `pools`.
    """

    version: U8
    latest_epoch: U32  # to which the pool was advanced
    pending_shares: Mapping[U32, U64]  # shares to take out
    pre_active_withdrawals: Mapping[U32, U64]  # principal to take out, active since the epoch before
    pending_commission_rates: Mapping[U32, U16]
    commission_receiver: Bytes32 | None  # None: the governance account


@dataclass(frozen=True, slots=True)
class ExchangeRate:
    """What a pool's shares are worth: `balance_frost` for `n_shares`; one for one when either is 0."""

    version: U8
    balance_frost: U64
    n_shares: U64

    def to_shares(self, amount_frost: int) -> int:
        """Shares for FROST, rounded down."""
        return amount_frost * self.n_shares // self.balance_frost if self._is_set else amount_frost

    def to_frost(self, n_shares: int) -> int:
        """FROST for shares, rounded down."""
        return n_shares * self.balance_frost // self.n_shares if self._is_set else n_shares

    @property
    def _is_set(self) -> bool:
        return self.balance_frost > 0 and self.n_shares > 0


@dataclass(frozen=True, slots=True)
class StakedWal:
    """Principal that an account has locked in a pool."""

    version: U8
    owner: Bytes32
    node_id: Bytes32
    principal_frost: U64
    activation_epoch: U32
    withdraw_epoch: U32 | None


@dataclass(frozen=True, slots=True)
class HandOver:
    """A shard on its way from one owner to the next; reads and deletion follow it, not the committee."""

    version: U8
    from_node: Bytes32
    to_node: Bytes32
    done: bool
