"""Tables of the read model, in portable SQL: SQLite by default, PostgreSQL by a connection URL.

Rows are never removed: `registered_height`, `certified_height` and `deleted_height` say in which block something came
to be, was certified and went away, so that a later query may ask for the state as of a block. What belongs to an
epoch (committee, stake, parameters) is kept per epoch.

A change to a table raises `SCHEMA_VERSION`; a database of another version is refused and built again from genesis. What
is only added is made when a database that lacks it is opened: an index, or the columns of `ADDED_COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

SCHEMA_VERSION = 3
U64_DIGITS = 20
TOTAL_DIGITS = 38

metadata = MetaData()


class Unsigned(TypeDecorator[int]):
    """An unsigned integer beyond 63 bits that sorts as a number.

    PostgreSQL has NUMERIC for it. SQLite would turn it into a float, so there it is decimal text of fixed width,
    whose order is the number's. Sums over such columns are made while projecting, never in SQL.
    """

    impl = String
    cache_ok = True

    def __init__(self, digits: int = U64_DIGITS) -> None:
        super().__init__(digits)
        self.digits = digits

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(self.digits))
        return dialect.type_descriptor(Numeric(self.digits, 0))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return f"{value:0{self.digits}d}"

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        return None if value is None else int(value)


class Utf8(TypeDecorator[str]):
    """Text that people chose freely, kept as its UTF-8 bytes: PostgreSQL's text cannot hold a NUL, ours may."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else value.encode()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        return None if value is None else bytes(value).decode()


def _id(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary(32), nullable=nullable, primary_key=primary_key)


def _number(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[int]:
    """A height, sequence, epoch or time: always below 2^63."""
    return Column(name, BigInteger, nullable=nullable, primary_key=primary_key, autoincrement=False)


def _unsigned(name: str, digits: int = U64_DIGITS, *, nullable: bool = False) -> Column[int]:
    return Column(name, Unsigned(digits), nullable=nullable)


def _rare(name: str, condition: str, order: str = "registered_sequence") -> Index:
    """Rows that fulfil what few do, newest at the end; the others cost nothing."""
    return Index(name, order, sqlite_where=text(condition), postgresql_where=text(condition))


# What this database is, written once: schema_version, chain_id, cursor_key.
meta = Table("meta", metadata, Column("name", String(64), primary_key=True), Column("value", Text, nullable=False))

# One row: how far the projection is. `sequence` is the last event applied, -1 before the first.
progress = Table(
    "progress",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _number("height"),
    _number("sequence"),
    _number("epoch"),
    _number("time_ms"),
    Column("block_digest", LargeBinary(32), nullable=False),
    _number("n_accounts"),
    _number("n_blobs"),
    _number("n_nodes"),
)

accounts = Table(
    "accounts",
    metadata,
    _id("address", primary_key=True),
    _unsigned("balance_frost"),
    _number("registered_height"),
    _number("registered_sequence"),
)

# Bound storage stays here with `blob_object_id` set; the ledger's own free resources are those that are neither
# bound nor deleted.
storage = Table(
    "storage",
    metadata,
    _id("object_id", primary_key=True),
    _id("owner"),
    _number("start_epoch"),
    _number("end_epoch"),
    _unsigned("size_bytes"),
    _id("blob_object_id", nullable=True),
    _number("registered_height"),
    _number("registered_sequence"),
    _number("deleted_height", nullable=True),
    Index("storage_by_owner", "owner", "registered_sequence"),
)

blob_objects = Table(
    "blob_objects",
    metadata,
    _id("object_id", primary_key=True),
    _id("blob_id"),
    _id("owner"),
    _id("root_hash"),
    _unsigned("size_bytes"),
    Column("encoding_type", SmallInteger, nullable=False),
    Column("deletable", Boolean, nullable=False),
    _id("storage_id"),
    _unsigned("storage_size_bytes"),
    _number("start_epoch"),
    _number("end_epoch"),
    _unsigned("cost_frost", TOTAL_DIGITS),
    _number("registered_epoch"),
    _number("registered_height"),
    _number("registered_sequence"),
    _number("registered_time_ms"),
    _number("certified_epoch", nullable=True),
    _number("certified_height", nullable=True),
    _number("certified_sequence", nullable=True),
    _number("deleted_height", nullable=True),
    Column("burned", Boolean, nullable=False),
    _unsigned("shared_funds_frost", nullable=True),  # of a blob that is shared, and so belongs to nobody
    Index("blob_objects_by_blob", "blob_id", "registered_sequence"),
    Index("blob_objects_by_owner", "owner", "registered_sequence"),
    Index("blob_objects_by_sequence", "registered_sequence", unique=True),
    Index("blob_objects_by_end", "end_epoch"),
    _rare("blob_objects_uncertified", "certified_epoch IS NULL"),
    _rare("blob_objects_shared", "shared_funds_frost IS NOT NULL"),
)

blob_attributes = Table(
    "blob_attributes",
    metadata,
    _id("object_id", primary_key=True),
    Column("key", Utf8, primary_key=True),
    Column("value", Utf8, nullable=False),
    Index("blob_attributes_by_pair", "key", "value", "object_id"),
)

# All objects of one blob id, summed up. A pure function of its rows in `blob_objects`.
blobs = Table(
    "blobs",
    metadata,
    _id("blob_id", primary_key=True),
    _id("root_hash"),
    _unsigned("size_bytes"),
    Column("encoding_type", SmallInteger, nullable=False),
    _unsigned("encoded_size_bytes"),
    _number("symbol_size_bytes"),
    _number("registered_epoch"),
    _number("registered_height"),
    _number("registered_sequence"),
    _number("registered_time_ms"),
    _number("registered_end_epoch"),
    _number("first_certified_epoch", nullable=True),
    _number("certified_height", nullable=True),
    _number("certified_sequence", nullable=True),
    _number("certified_end_epoch", nullable=True),
    _number("end_epoch"),
    _number("certificate_sequence", nullable=True),
    _number("permanent_count"),
    _number("deletable_count"),
    _number("certified_deletable_count"),
    _number("invalid_epoch", nullable=True),
    _number("invalid_height", nullable=True),
    _number("deleted_height", nullable=True),
    Index("blobs_by_sequence", "registered_sequence", unique=True),
    Index("blobs_by_size", "size_bytes", "blob_id"),
    Index("blobs_by_end", "end_epoch", "blob_id"),
    Index("blobs_by_certified", "first_certified_epoch"),
    _rare("blobs_invalid", "invalid_height IS NOT NULL"),
    _rare("blobs_deleted", "deleted_height IS NOT NULL"),
    _rare("blobs_uncertified", "certified_end_epoch IS NULL AND deleted_height IS NULL"),
    _rare("blobs_longer_registered", "registered_end_epoch > certified_end_epoch"),
)

# Ids proven to be wrongly encoded, whether registered or not.
invalid_blobs = Table("invalid_blobs", metadata, _id("blob_id", primary_key=True), _number("epoch"), _number("height"))

# Certified blobs by the end of their life: what is stored in epoch E is the sum over ends beyond E.
blob_totals = Table(
    "blob_totals",
    metadata,
    _number("end_epoch", primary_key=True),
    _number("n_blobs"),
    _unsigned("size_bytes", TOTAL_DIGITS),
    _unsigned("encoded_size_bytes", TOTAL_DIGITS),
)

certificates = Table(
    "certificates",
    metadata,
    _number("sequence", primary_key=True),  # of the event that carried it
    _id("blob_id"),
    _id("object_id"),
    _number("height"),
    _number("epoch"),
    Column("deletable", Boolean, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("signers", LargeBinary, nullable=False),
    _number("weight"),
    Column("verified", Boolean, nullable=False),
    Index("certificates_by_blob", "blob_id", "sequence"),
    Index("certificates_by_object", "object_id", "sequence"),
)

nodes = Table(
    "nodes",
    metadata,
    _id("node_id", primary_key=True),
    Column("name", Utf8, nullable=False),
    Column("addresses", Text, nullable=False),  # JSON list
    _id("governance"),
    _id("capability"),
    Column("public_key", LargeBinary(48), nullable=False),
    Column("network_public_key", LargeBinary, nullable=False),
    _number("commission_rate_bps"),
    _unsigned("storage_price_frost"),
    _unsigned("write_price_frost"),
    _unsigned("node_capacity_bytes"),
    Column("next_public_key", LargeBinary(48), nullable=True),
    _id("commission_receiver", nullable=True),  # null: the governance account
    Column("leaving", Boolean, nullable=False),
    _number("last_sync_done_epoch"),
    _number("registered_epoch"),
    _number("activation_epoch"),
    _number("registered_height"),
    _number("registered_sequence"),
    _number("deleted_height", nullable=True),
    _unsigned("stake_frost", TOTAL_DIGITS),  # active in the current epoch
    _unsigned("next_stake_frost", TOTAL_DIGITS),  # that will be active in the next
    _number("weight"),  # shards in the current epoch
    Index("nodes_by_name", "name", "node_id"),
    Index("nodes_by_stake", "stake_frost", "node_id"),
    Index("nodes_by_weight", "weight", "node_id"),
)

stakes = Table(
    "stakes",
    metadata,
    _id("object_id", primary_key=True),
    _id("owner"),
    _id("node_id"),
    _unsigned("principal_frost"),
    _number("activation_epoch"),
    _number("withdraw_epoch", nullable=True),
    _number("registered_height"),
    _number("registered_sequence"),
    _number("deleted_height", nullable=True),
    Index("stakes_by_owner", "owner", "registered_sequence"),
    Index("stakes_by_node", "node_id", "registered_sequence"),
    Index("stakes_by_sequence", "registered_sequence", unique=True),
    _rare("stakes_staying", "withdraw_epoch IS NULL AND deleted_height IS NULL", "activation_epoch"),
    _rare("stakes_leaving", "withdraw_epoch IS NOT NULL AND deleted_height IS NULL", "withdraw_epoch"),
)

epochs = Table(
    "epochs",
    metadata,
    _number("epoch", primary_key=True),
    Column("phase", String(8), nullable=False),
    Column("forced", Boolean, nullable=False),
    _number("started_height"),
    _number("started_sequence"),
    _number("started_time_ms"),
    _number("done_height", nullable=True),
    _number("done_time_ms", nullable=True),
    _unsigned("total_capacity_bytes"),
    _unsigned("storage_price_frost"),
    _unsigned("write_price_frost"),
    _unsigned("total_stake_frost", TOTAL_DIGITS),  # of the committee, when the epoch started
    _number("voted_height", nullable=True),
    _number("voted_time_ms", nullable=True),
    Column("kept_because", String(40), nullable=True),  # the code why the next committee is this one
    _number("sync_weight"),  # shards of members that have all they gained
    _unsigned("income_frost", nullable=True),  # these four once the epoch is over
    _unsigned("burned_frost", nullable=True),
    _unsigned("paid_frost", nullable=True),
    _unsigned("rolled_over_frost", nullable=True),
)

# What the members of an epoch earned in it; the commission is part of the reward.
epoch_rewards = Table(
    "epoch_rewards",
    metadata,
    _number("epoch", primary_key=True),
    _id("node_id", primary_key=True),
    _unsigned("reward_frost"),
    _unsigned("commission_frost"),
)

# Shards that changed owner with an epoch; `done_height` is null while a shard is on its way.
hand_overs = Table(
    "hand_overs",
    metadata,
    _number("epoch", primary_key=True),
    _number("shard_index", primary_key=True),
    _id("from_node"),
    _id("to_node"),
    _number("opened_height"),
    _number("done_height", nullable=True),
    Index("hand_overs_by_giver", "from_node", "done_height"),
    Index("hand_overs_by_taker", "to_node", "done_height"),
    Index("hand_overs_by_shard", "shard_index", "done_height"),
)

# A node's staking pool as it is now; the JSON objects map epochs to amounts.
pools = Table(
    "pools",
    metadata,
    _id("node_id", primary_key=True),
    _number("latest_epoch"),
    _unsigned("balance_frost"),
    _unsigned("n_shares"),
    _unsigned("rewards_frost"),
    _unsigned("commission_frost"),
    _unsigned("commission_blocked_frost"),
    Column("pending_stake", Text, nullable=False),
    Column("pending_shares", Text, nullable=False),
    Column("pre_active_withdrawals", Text, nullable=False),
    Column("pending_commission_rates", Text, nullable=False),
)

# What a pool's shares are worth from an epoch on: `balance_frost` for `n_shares`, one for one when either is 0.
exchange_rates = Table(
    "exchange_rates",
    metadata,
    _id("node_id", primary_key=True),
    _number("epoch", primary_key=True),
    _unsigned("balance_frost"),
    _unsigned("n_shares"),
)

committee_members = Table(
    "committee_members",
    metadata,
    _number("epoch", primary_key=True),
    _id("node_id", primary_key=True),
    _number("position"),  # the member's bit in a certificate
    Column("public_key", LargeBinary(48), nullable=False),
    Column("shards", Text, nullable=False),  # JSON list
    _number("weight"),
    _unsigned("stake_frost", TOTAL_DIGITS),
)

# The active stake of every pool, members or not, when an epoch started.
epoch_stakes = Table(
    "epoch_stakes",
    metadata,
    _number("epoch", primary_key=True),
    _id("node_id", primary_key=True),
    _unsigned("stake_frost", TOTAL_DIGITS),
)

ring = Table("ring", metadata, _number("epoch", primary_key=True), _unsigned("used_bytes"), _unsigned("rewards_frost"))

events = Table(
    "events",
    metadata,
    _number("sequence", primary_key=True),
    _number("height"),
    _number("tx_index"),
    _number("time_ms"),
    _number("epoch"),
    Column("kind", String(40), nullable=False),  # class name in haulout.ledger.events
    Column("payload", LargeBinary, nullable=False),  # canonical bytes of the event's body
    _id("blob_id", nullable=True),
    _id("object_id", nullable=True),
    _id("account", nullable=True),
    _id("node_id", nullable=True),
    Index("events_by_kind", "kind", "sequence"),
    Index("events_by_epoch", "epoch", "sequence"),
    Index("events_by_blob", "blob_id", "sequence"),
    Index("events_by_object", "object_id", "sequence"),
    Index("events_by_account", "account", "sequence"),
    Index("events_by_node", "node_id", "sequence"),
)

# Columns that a version added, null in all rows that are older: what they tell of could not happen before.
ADDED_COLUMNS: Mapping[int, tuple[Column[Any], ...]] = {3: (blob_objects.c.shared_funds_frost,)}
