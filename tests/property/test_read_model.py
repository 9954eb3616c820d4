"""The read model equals the ledger's state: after random scripts, in any batches, and after crashes anywhere."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphql_api.read_model import epoch_queries, node_queries
from graphql_api.read_model import schema as t
from graphql_api.read_model.database import Database
from graphql_api.read_model.project import BlockEvents, Projector
from haulout import bcs
from haulout.chain.block import BlockHeader
from haulout.crypto import ed25519, messages
from haulout.crypto.certificate import bitmap_of
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import commands as c
from haulout.ledger import keys, queries
from haulout.ledger.apply import apply_block
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.events import EVENTS
from haulout.ledger.genesis import NodeSecrets, build_development_network, build_genesis
from haulout.ledger.pools import balance_at, load_pool
from haulout.ledger.state import (
    Account,
    Blob,
    BlobRecord,
    Bucket,
    ExchangeRate,
    Node,
    ObjectKind,
    Phase,
    SharedBlob,
    StakedWal,
    Storage,
)
from haulout.ledger.transactions import sign_transaction
from haulout.primitives import FROST_PER_WAL, blob_id_text
from haulout.world.memory_store import MemoryStore

SCHEME = KeyedHash()
START_MS = 1_800_000_000_000
NAMES = ("alice", "bob", "carol")
NETWORK = build_development_network(
    node_addresses={f"node-{i}": (f"127.0.0.1:{5000 + i}",) for i in range(5)},
    n_shards=10,
    stake_frost=1_000 * FROST_PER_WAL,
    account_funds_frost=dict.fromkeys(NAMES, 10_000 * FROST_PER_WAL),
    genesis_time_ms=START_MS,
    seed=bytes(32),
    scheme=SCHEME,
    manual_epochs=True,
)
SECRETS = [NETWORK.account_secrets[name] for name in NAMES]
ADDRESSES = [NETWORK.address(name) for name in NAMES]
BLS = {SCHEME.public_key(node.bls_secret): node.bls_secret for node in NETWORK.nodes}

Step = tuple[int, int, int, int]


@dataclass
class World:
    """A ledger, and the blocks it has made."""

    store: MemoryStore = field(default_factory=MemoryStore)
    blocks: list[BlockEvents] = field(default_factory=list)
    head: BlockHeader | None = None
    n_sent: int = 0
    reasons: set[str] = field(default_factory=set)

    def found(self) -> None:
        self._keep(build_genesis(NETWORK.genesis, SCHEME))

    def block(self, steps: Sequence[Step]) -> None:
        """Make one block of one transaction per step; most are accepted, some are refused, by chance."""
        assert self.head is not None
        sent = []
        for step in steps:
            self.n_sent += 1
            signed = sign_transaction(
                self.secret(step),
                NETWORK.genesis.chain_id,
                self.commands(step),
                nonce=self.n_sent.to_bytes(16, "big"),
                valid_until_ms=self.head.time_ms + 60_000,
            )
            sent.append(bcs.encode(signed))
        out = apply_block(self.store, self.head, self.head.time_ms + 1_000, sent, SCHEME)
        self.reasons.update(result.reason for result in out.results)
        self._keep(out)

    def _keep(self, out: Any) -> None:
        asyncio.run(self.store.commit(out.writes))
        self.head = out.header
        header = out.header
        self.blocks.append(
            BlockEvents(header.height, header.time_ms, header.digest(), header.previous_digest, out.events)
        )

    def pick(self, kind: ObjectKind, step: Step, *, which: int = 2) -> c.Existing:
        """Some object of the sender's, or one that nobody has."""
        found = list(queries.owned_ids(self.store, ADDRESSES[step[1] % 3], kind))
        return c.Existing(found[step[which] % len(found)] if found else bytes(32))

    def store_and_share(self, number: int) -> list[Any]:
        size, root = 1_000 + 37 * number, bytes([number]) * 32
        blob_id, epoch = derive_blob_id(1, size, root), queries.system(self.store).epoch
        stored = c.Created(1, 0)
        return [
            c.ReserveSpace(1 << 20, 0, epoch + 3),
            c.RegisterBlob(c.Created(0, 0), blob_id, root, size, 1, False),
            c.CertifyBlob(stored, *self.signed(messages.storage_confirmation(epoch, blob_id, None))),
            c.ShareBlob(stored, FROST_PER_WAL),
        ]

    def pick_shared(self, pick: int) -> c.Existing:
        """Some shared blob, or one that nobody has."""
        found = [key[1:] for key, _ in self.store.scan(*keys.table_range(keys.SHARED_BLOB))]
        return c.Existing(found[pick % len(found)] if found else bytes(32))

    def secret(self, step: Step) -> bytes:
        """Who signs: an account, or what a node does by one of its own."""
        action, who, a, _ = step
        node = NETWORK.nodes[a % 5]
        if action in (25, 28, 29, 30):
            return node.capability_secret
        return node.governance_secret if action in (27, 31) else SECRETS[who % 3]

    def commands(self, step: Step) -> list[Any]:
        action, _, a, b = step
        storage, blob, stake = (ObjectKind.STORAGE, ObjectKind.BLOB, ObjectKind.STAKED_WAL)
        match action:
            case 0 | 1 | 2:
                number = a % 3
                size, root = 1_000 + 37 * number, bytes([number]) * 32
                reserve = c.ReserveSpace((1 + b % 2) << 20, 0, queries.system(self.store).epoch + 2 + b % 5)
                register = c.RegisterBlob(c.Created(0, 0), derive_blob_id(1, size, root), root, size, 1, b % 4 != 0)
                return [reserve, register]
            case 3 | 4:
                return [self.certify(self.pick(blob, step))]
            case 5:
                return [c.ExtendBlob(self.pick(blob, step), 1 + b % 3)]
            case 6:
                return [c.DeleteBlob(self.pick(blob, step))]
            case 7:
                return [c.BurnBlob(self.pick(blob, step))]
            case 8:
                return [c.SetBlobAttribute(self.pick(blob, step), f"key{b % 3}\x00", f"value {a}")]
            case 9:
                return [c.RemoveBlobAttribute(self.pick(blob, step), f"key{b % 3}\x00")]
            case 10:
                to = ADDRESSES[a % 3] if b % 2 else bytes([a % 256]) * 32
                return [c.Transfer(to, b * FROST_PER_WAL)]
            case 11:
                return [c.TransferObject(self.pick(ObjectKind(b % 3), step), ADDRESSES[a % 3])]
            case 12:
                return [c.ReserveSpace(1_000 * (1 + a % 3), a % 3, 2 + b % 6)]
            case 13:
                return [c.SplitStorageBySize(self.pick(storage, step), 500 * (b % 4))]
            case 14:
                return [c.SplitStorageByEpoch(self.pick(storage, step), 1 + b % 5)]
            case 15:
                return [c.FuseStorage(self.pick(storage, step), self.pick(storage, step, which=3))]
            case 16:
                return [c.DestroyStorage(self.pick(storage, step))]
            case 17:
                node = NETWORK.nodes[a % 5].node_id
                return [c.Stake(node, (2 + b % 5) * 150 * FROST_PER_WAL), c.Stake(node, 3 * FROST_PER_WAL)]
            case 18:
                return [c.SplitStake(self.pick(stake, step), FROST_PER_WAL)]
            case 19:
                return [c.JoinStake(self.pick(stake, step), self.pick(stake, step, which=3))]
            case 20:
                return [self.register_node(step)]
            case 21:
                nodes = list(queries.nodes(self.store))
                own = [node_id for node_id, node in nodes if node.governance == ADDRESSES[step[1] % 3]]
                found = own if b % 3 and own else [node_id for node_id, _ in nodes]
                return [c.SetNodeAddresses(found[a % len(found)], (f"10.0.0.{b % 250}:1", "b:2")[: 1 + b % 2])]
            case 22:
                return [self.invalidate(a % 3)]
            case 32:
                shared = [c.ShareBlob(self.pick(blob, step), b * FROST_PER_WAL)]
                return shared if b % 2 else self.store_and_share(a % 3)
            case 33:
                return [c.FundSharedBlob(self.pick_shared(a), b * FROST_PER_WAL)]
            case 34:
                return [c.ExtendSharedBlob(self.pick_shared(a), 1 + b % 3)]
            case _:
                return [self.epoch_command(step)]

    def epoch_command(self, step: Step) -> Any:
        action, _, a, b = step
        node, epoch, stake = NETWORK.nodes[a % 5].node_id, queries.system(self.store).epoch, ObjectKind.STAKED_WAL
        match action:
            case 23:
                return c.ForceDone(epoch) if queries.phase(self.store) is Phase.SYNC else c.AdvanceEpoch(epoch)
            case 24:
                return c.RequestWithdraw(self.pick(stake, step)) if b % 2 else c.Withdraw(self.pick(stake, step))
            case 25:
                arriving = [record.shard_index for record in queries.open_hand_overs(self.store, to_node=node)]
                return c.ReportSyncDone(node, epoch, tuple(arriving[: 1 + b % 4]))
            case 26:
                return c.UpdatePrices()
            case 27:
                leaving = queries.node(self.store, node)
                is_leaving = leaving is not None and leaving.leaving
                return c.CancelLeave(node, epoch) if is_leaving else c.RequestLeave(node, epoch)
            case 28:
                return c.SetVotes(node, None if b % 3 else 100_000 + b, 7 * b, None)
            case 29:
                return c.SetCommission(node, 100 * b)
            case 30:
                return self.choose_key(NETWORK.nodes[a % 5], b)
            case _:
                return c.CollectCommission(node) if b % 2 else c.SetNodeAccounts(node, None, None, ADDRESSES[b % 3])

    def choose_key(self, node: NodeSecrets, number: int) -> c.SetNextPublicKey:
        secret = SCHEME.generate(bytes([number, node.bls_secret[0]]) * 16)
        key, sender = SCHEME.public_key(secret), ed25519.address_of(ed25519.public_key(node.capability_secret))
        BLS[key] = secret
        proof = SCHEME.sign(secret, messages.proof_of_possession(queries.system(self.store).epoch, sender, key))
        return c.SetNextPublicKey(node.node_id, key, proof)

    def certify(self, ref: c.Existing) -> c.CertifyBlob:
        found = queries.blob(self.store, ref.object_id)
        blob_id = found.blob_id if found else bytes(32)
        deletable = found is not None and found.deletable
        message = messages.storage_confirmation(
            queries.system(self.store).epoch, blob_id, ref.object_id if deletable else None
        )
        return c.CertifyBlob(ref, *self.signed(message))

    def invalidate(self, number: int) -> c.InvalidateBlobId:
        blob_id = derive_blob_id(1, 1_000 + 37 * number, bytes([number]) * 32)
        return c.InvalidateBlobId(*self.signed(messages.invalid_blob_id(queries.system(self.store).epoch, blob_id)))

    def signed(self, message: bytes) -> tuple[bytes, bytes, bytes]:
        members = queries.committee(self.store).members[:4]
        signature = SCHEME.aggregate([SCHEME.sign(BLS[member.public_key], message) for member in members])
        return message, signature, bitmap_of(range(4))

    def register_node(self, step: Step) -> c.RegisterNode:
        secret = SCHEME.generate(bytes([step[2] % 256]) * 32)
        key = SCHEME.public_key(secret)
        sender = ed25519.address_of(ed25519.public_key(SECRETS[step[1] % 3]))
        proof = SCHEME.sign(secret, messages.proof_of_possession(queries.system(self.store).epoch, sender, key))
        vote = (1 << 64) - 1 - step[3]
        return c.RegisterNode(f"new-{step[2]}", ("x:1",), key, b"", proof, 100, vote, vote, vote, sender)


STEPS = st.tuples(st.integers(0, 34), st.integers(0, 2), st.integers(0, 40), st.integers(0, 40))
SCRIPTS = st.lists(st.lists(STEPS, min_size=1, max_size=5), min_size=1, max_size=25)


@contextmanager
def databases(n: int) -> Iterator[list[Path]]:
    with tempfile.TemporaryDirectory() as folder:
        yield [Path(folder) / f"{i}.sqlite" for i in range(n)]


def open_at(path: Path) -> tuple[Database, Any]:
    database = Database(f"sqlite:///{path}")
    return database, database.open(chain_id=NETWORK.genesis.chain_id, fresh_key=bytes(32))


class PowerCut(Exception):
    """Planted."""


def crash_after(database: Database, n_statements: int) -> None:
    """Let the n-th statement from now on fail, as a killed process would."""
    left = [n_statements]

    def count(*_: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise PowerCut

    sa.event.listen(database.writer, "before_cursor_execute", count)


def fill(path: Path, blocks: Sequence[BlockEvents], sizes: Sequence[int], crashes: Sequence[int]) -> None:
    """Feed blocks in batches of these sizes; crash now and then, and go on from what the database says."""
    projector = Projector(10, SCHEME)
    turns = iter(range(10_000))
    waiting = list(crashes)
    while True:
        database, progress = open_at(path)
        try:
            if waiting:
                crash_after(database, waiting.pop(0))
            while progress.height + 1 < len(blocks):
                size = sizes[next(turns) % len(sizes)]
                batch = blocks[progress.height + 1 : progress.height + 1 + size]
                progress = database.apply(projector, progress, batch)
            return
        except PowerCut:
            continue
        finally:
            database.close()


def rows_of(path: Path) -> dict[str, list[Any]]:
    database, _ = open_at(path)
    with database.readers.connect() as connection:
        rows = {
            name: sorted(map(repr, connection.execute(sa.select(table)).all()))
            for name, table in t.metadata.tables.items()
        }
    database.close()
    return rows


def table(view: Any, prefix: bytes, row: Any) -> dict[bytes, Any]:
    """A table of the ledger's state."""
    start, end = keys.table_range(prefix)
    return {key[len(prefix) :]: bcs.decode(row, raw) for key, raw in view.scan(start, end)}


def check_equals_state(path: Path, world: World) -> None:
    """Every row that speaks of the present says what the ledger's state says, and nothing is missing."""
    view = world.store
    database, progress = open_at(path)
    with database.readers.connect() as connection:

        def rows(statement: Any) -> list[Any]:
            return list(connection.execute(statement).mappings())

        def by(name: str, statement: Any) -> dict[Any, Any]:
            return {row[name]: row for row in rows(statement)}

        system = queries.system(view)
        assert (progress.epoch, progress.sequence + 1) == (system.epoch, system.next_sequence)
        assert progress.height == world.head.height  # type: ignore[union-attr]

        held = {address: row.balance_frost for address, row in table(view, keys.ACCOUNT, Account).items()}
        shown = {row["address"]: row["balance_frost"] for row in rows(sa.select(t.accounts))}
        assert {a: b for a, b in shown.items() if b} == {a: b for a, b in held.items() if b}
        assert progress.n_accounts == len(shown)

        free = by("object_id", node_queries.free_storage_statement())
        assert {
            key: Storage(1, row["owner"], row["start_epoch"], row["end_epoch"], row["size_bytes"])
            for key, row in free.items()
        } == table(view, keys.STORAGE, Storage)

        attributes: dict[bytes, dict[str, str]] = {}
        for row in rows(sa.select(t.blob_attributes)):
            attributes.setdefault(row["object_id"], {})[row["key"]] = row["value"]
        objects = by("object_id", sa.select(t.blob_objects).where(t.blob_objects.c.deleted_height.is_(None)))
        assert {
            key: Blob(
                1,
                row["owner"],
                row["blob_id"],
                row["size_bytes"],
                row["encoding_type"],
                row["registered_epoch"],
                row["certified_epoch"],
                row["deletable"],
                row["storage_id"],
                row["start_epoch"],
                row["end_epoch"],
                row["storage_size_bytes"],
                attributes.get(key, {}),
            )
            for key, row in objects.items()
        } == table(view, keys.BLOB, Blob)
        funds = {key: row["shared_funds_frost"] for key, row in objects.items()}
        shared = table(view, keys.SHARED_BLOB, SharedBlob)
        assert {key: held for key, held in funds.items() if held is not None} == {
            key: row.funds_frost for key, row in shared.items()
        }
        bound = by("object_id", sa.select(t.storage).where(t.storage.c.blob_object_id.is_not(None)))
        for row in (row for row in bound.values() if row["deleted_height"] is None):
            of = objects[row["blob_object_id"]]
            assert (row["owner"], row["end_epoch"], row["size_bytes"]) == (
                of["owner"],
                of["end_epoch"],
                of["storage_size_bytes"],
            )

        records = table(view, keys.BLOB_RECORD, BlobRecord)
        blobs = by("blob_id", sa.select(t.blobs))
        assert {blob_id for blob_id, row in blobs.items() if row["deleted_height"] is None} == set(records)
        for blob_id, record in records.items():
            row = blobs[blob_id]
            assert row["certified_end_epoch"] == record.certified_end_epoch, blob_id_text(blob_id)
            assert (
                row["size_bytes"],
                row["encoding_type"],
                row["root_hash"],
                row["registered_end_epoch"],
                row["permanent_count"],
                row["deletable_count"],
                row["certified_deletable_count"],
            ) == (
                record.size_bytes,
                record.encoding_type,
                record.root_hash,
                record.registered_end_epoch,
                record.permanent_total,
                record.deletable_total,
                record.deletable_certified,
            )
            if record.certified_sequence is not None:
                assert row["certified_sequence"] <= record.certified_sequence
        assert {row["blob_id"]: row["epoch"] for row in rows(sa.select(t.invalid_blobs))} == {
            key[1:]: int.from_bytes(raw, "little") for key, raw in view.scan(*keys.table_range(keys.INVALID_BLOB))
        }
        certified = [
            row for row in blobs.values() if row["certified_end_epoch"] is not None and row["invalid_height"] is None
        ]
        totals = epoch_queries.system_totals(connection, 0)
        assert totals["n_blobs"] == len(certified)
        assert totals["size_bytes"] == sum(row["size_bytes"] for row in certified)
        assert progress.n_blobs == len(blobs)

        nodes = table(view, keys.NODE, Node)
        shown_nodes = by("node_id", sa.select(t.nodes))
        assert set(shown_nodes) == set(nodes)
        assert progress.n_nodes == len(nodes)
        for node_id, node in nodes.items():
            row = shown_nodes[node_id]
            assert (row["name"], row["public_key"], row["storage_price_frost"], row["activation_epoch"]) == (
                node.name,
                node.public_key,
                node.storage_price_frost,
                node.activation_epoch,
            )
            assert row["addresses"] == str(list(node.addresses)).replace("'", '"')
            assert row["stake_frost"] == node.balance_frost
            assert row["next_stake_frost"] == balance_at(view, load_pool(view, node_id), system.epoch + 1)
        stakes = by("object_id", node_queries.stakes_statement(node_queries.StakeQuery(), 0))
        assert {
            key: StakedWal(
                1, row["owner"], row["node_id"], row["principal_frost"], row["activation_epoch"], row["withdraw_epoch"]
            )
            for key, row in stakes.items()
        } == table(view, keys.STAKED_WAL, StakedWal)

        buckets = {int.from_bytes(key, "big"): row for key, row in table(view, keys.BUCKET, Bucket).items()}
        assert {
            row["epoch"]: Bucket(1, row["used_bytes"], row["rewards_frost"]) for row in rows(sa.select(t.ring))
        } == buckets
        current = t.committee_members.c.epoch == system.epoch
        members = rows(sa.select(t.committee_members).where(current).order_by(t.committee_members.c.position))
        committee = queries.committee(view)
        assert [(row["node_id"], row["public_key"], row["shards"]) for row in members] == [
            (member.node_id, member.public_key, str(list(member.shards))) for member in committee.members
        ]
        check_epochs(view, rows)
        assert all(row["verified"] for row in rows(sa.select(t.certificates)))
    database.close()


def check_epochs(view: Any, rows: Callable[[Any], list[Any]]) -> None:
    """Phase, prices, hand-overs and pools."""
    system, staking = queries.system(view), queries.staking(view)
    (epoch,) = rows(sa.select(t.epochs).where(t.epochs.c.epoch == system.epoch))
    assert (epoch["phase"], epoch["forced"], epoch["sync_weight"]) == (
        staking.phase.name,
        staking.forced,
        staking.sync_weight,
    )
    assert (epoch["total_capacity_bytes"], epoch["storage_price_frost"], epoch["write_price_frost"]) == (
        system.total_capacity_bytes,
        system.storage_price_frost,
        system.write_price_frost,
    )
    assert sum(row["burned_frost"] or 0 for row in rows(sa.select(t.epochs))) == system.burned_frost
    open_rows = rows(sa.select(t.hand_overs).where(t.hand_overs.c.done_height.is_(None)))
    assert {(row["epoch"], row["shard_index"], row["from_node"], row["to_node"]) for row in open_rows} == {
        (record.epoch, record.shard_index, record.from_node, record.to_node) for record in queries.open_hand_overs(view)
    }
    shown = {row["node_id"]: row for row in rows(sa.select(t.pools))}
    nodes = {row["node_id"]: row for row in rows(sa.select(t.nodes))}
    for node_id, node in queries.nodes(view):
        row, schedule = nodes[node_id], queries.pool_schedule(view, node_id, node)
        assert (row["leaving"], row["next_public_key"], row["commission_receiver"], row["last_sync_done_epoch"]) == (
            node.leaving,
            node.next_public_key,
            schedule.commission_receiver,
            node.last_sync_done_epoch,
        )
        assert (row["write_price_frost"], row["commission_rate_bps"]) == (
            node.write_price_frost,
            node.commission_rate_bps,
        )
        if node_id in shown:
            pool = shown[node_id]
            assert (pool["n_shares"], pool["rewards_frost"], pool["commission_frost"], pool["latest_epoch"]) == (
                node.n_shares,
                node.rewards_frost,
                node.commission_frost,
                schedule.latest_epoch,
            )
            assert json.loads(pool["pending_shares"]) == {str(k): v for k, v in schedule.pending_shares.items()}
            assert pool["commission_blocked_frost"] == node.commission_blocked_frost
    rates = {(row["node_id"], row["epoch"]): row["n_shares"] for row in rows(sa.select(t.exchange_rates))}
    assert rates == {
        (key[:32], int.from_bytes(key[32:], "big")): rate.n_shares
        for key, rate in table(view, keys.EXCHANGE_RATE, ExchangeRate).items()
    }


@pytest.mark.timeout(300)
@given(
    script=SCRIPTS,
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    crashes=st.lists(st.integers(0, 200), max_size=4),
)
@settings(max_examples=settings.default.max_examples // 10 + 30, suppress_health_check=[HealthCheck.too_slow])
def test_rows_equal_the_ledgers_state_whatever_batches_and_crashes(
    script: list[list[Step]], sizes: list[int], crashes: list[int]
) -> None:
    world = World()
    world.found()
    for steps in script:
        world.block(steps)
    with databases(2) as (interrupted, straight):
        fill(interrupted, world.blocks, sizes, crashes)
        check_equals_state(interrupted, world)
        fill(straight, world.blocks, [1_000], [])
        assert rows_of(interrupted) == rows_of(straight)


# Too few nodes, rules that this build does not know, and what has no table: unit tests of the ledger.
UNREACHED = {"CommitteeKept", "ProtocolVersionChosen", "ProtocolVersionActivated", "SubsidiesChanged"}


def test_a_long_script_reaches_every_kind_of_event() -> None:
    """The generator is worth something: a fixed script takes all paths, and the rows still agree."""
    world = World()
    world.found()
    steps = [
        (action, who, a, b)
        for b in range(3)
        for action in (*range(22), *range(23, 35))
        for who in range(3)
        for a in range(2)
    ]
    for at in range(0, len(steps), 7):
        world.block(steps[at : at + 7])
    world.block([(22, 0, 1, 0)])
    for a in range(3):  # a node of little stake and one that leaves: shards move
        world.block([(17, 0, a, 40)])
        world.block([(27, 0, 3, 0), (23, 0, 0, 0)])
        world.block([(25, 0, node, b) for b in range(6) for node in range(5)])
    world.block([*[(28, 0, node, 3) for node in range(5)], *[(28, 0, node, 7) for node in range(5)], (26, 0, 0, 0)])
    kinds = {type(event.body).__name__ for block in world.blocks for event in block.events}
    assert {cls.__name__ for cls in EVENTS.variants.values()} - kinds == UNREACHED
    with databases(1) as (path,):
        fill(path, world.blocks, [5], [])
        check_equals_state(path, world)
