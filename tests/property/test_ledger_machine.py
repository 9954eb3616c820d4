"""The ledger as a rule-based machine: random commands through `apply_block`, everything checked after each block."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from haulout import bcs
from haulout.crypto import messages
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import invariants, keys, queries
from haulout.ledger.apply import apply_block
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.commands import (
    AdvanceEpoch,
    BurnBlob,
    Created,
    DeleteBlob,
    DestroyStorage,
    Existing,
    ExtendBlob,
    ExtendBlobWithStorage,
    ExtendSharedBlob,
    ForceDone,
    FundSharedBlob,
    FuseStorage,
    InvalidateBlobId,
    JoinStake,
    RegisterBlob,
    RegisterNode,
    RemoveBlobAttribute,
    ReserveSpace,
    SetBlobAttribute,
    SetNodeAddresses,
    ShareBlob,
    SplitStake,
    SplitStorageByEpoch,
    SplitStorageBySize,
    Stake,
    Transfer,
    TransferObject,
)
from haulout.ledger.draft import Draft, EmptyView
from haulout.ledger.genesis import build_development_network, build_genesis
from haulout.ledger.projection import Projection
from haulout.ledger.sandbox import Sandbox
from haulout.ledger.state import Blob, StakedWal, Storage

SCHEME = KeyedHash()
ACCOUNTS = ("alice", "bob", "carol")
WAL = 10**9
ENCODED = 6_940  # bytes of a blob of one byte on ten shards, as Walrus's `encoding/config.rs` has it
ROOTS = [bytes([i]) * 32 for i in range(3)]
NETWORK = build_development_network(
    node_addresses={f"node-{i}": (f"127.0.0.1:{7000 + i}",) for i in range(5)},
    n_shards=10,
    stake_frost=3 * WAL,
    account_funds_frost=dict.fromkeys(ACCOUNTS, 40 * WAL),
    genesis_time_ms=1_000_000,
    seed=bytes(32),
    scheme=SCHEME,
    max_epochs_ahead=6,
    node_capacity_bytes=40 * ENCODED // 10 * 2,
    epoch_duration_ms=100_000,
    manual_epochs=True,
)


accounts = st.sampled_from(ACCOUNTS)
picks = st.integers(0, 1 << 16)
small_epochs = st.integers(0, 8)
gifts = st.sampled_from([0, 1, WAL // 1000, WAL // 100, 100 * WAL])


class LedgerMachine(RuleBasedStateMachine):
    @initialize()
    def found(self) -> None:
        self.sandbox = Sandbox(NETWORK, SCHEME)
        self.projection = Projection()
        self.followed = 0
        self.pending: list[bytes] = []
        for i, name in enumerate(ACCOUNTS):
            blob_id = derive_blob_id(1, 1, ROOTS[i % 2])
            self.submit(
                name,
                ReserveSpace(ENCODED, 0, 3 + i),
                RegisterBlob(Created(0, 0), blob_id, ROOTS[i % 2], 1, 1, i != 1),
                ReserveSpace(2 * ENCODED, 0, 5),
                ReserveSpace(ENCODED, 3 + i, 6),
                Stake(self.sandbox.network.nodes[i].node_id, 3 * WAL),
                Stake(self.sandbox.network.nodes[i].node_id, 2 * WAL),
            )

    # --- choosing what exists, or sometimes what does not ----------------------------------------------------

    def pick(self, table: bytes, pick: int) -> bytes:
        ids = [key[1:] for key, _ in self.sandbox.state.scan(*keys.table_range(table))]
        return ids[pick % len(ids)] if ids and pick % 17 != 13 else bytes(32)

    def submit(self, account: str, *commands: Any) -> None:
        self.pending.append(self.sandbox.sign(account, *commands))
        if len(self.pending) >= 3:
            self.make_block()

    def owner(self, table: bytes, object_id: bytes, fallback: str) -> str:
        raw = self.sandbox.state.get(table + object_id)
        if raw is None:
            return fallback
        row: Any = bcs.decode({keys.STORAGE: Storage, keys.BLOB: Blob, keys.STAKED_WAL: StakedWal}[table], raw)
        return next((name for name in ACCOUNTS if self.sandbox.address(name) == row.owner), fallback)

    # --- commands -------------------------------------------------------------------------------------------

    @rule(account=accounts, to=accounts, amount=st.sampled_from([0, 1, WAL, 45 * WAL]))
    def transfer(self, account: str, to: str, amount: int) -> None:
        self.submit(account, Transfer(self.sandbox.address(to), amount))

    @rule(account=accounts, to=accounts, pick=picks, table=st.sampled_from([keys.STORAGE, keys.BLOB, keys.STAKED_WAL]))
    def transfer_object(self, account: str, to: str, pick: int, table: bytes) -> None:
        object_id = self.pick(table, pick)
        account = self.owner(table, object_id, account)
        self.submit(account, TransferObject(Existing(object_id), self.sandbox.address(to)))

    @rule(
        account=accounts,
        size=st.sampled_from([0, 1, ENCODED, 2 * ENCODED, 3 << 20]),
        start=small_epochs,
        end=small_epochs,
    )
    def reserve(self, account: str, size: int, start: int, end: int) -> None:
        self.submit(account, ReserveSpace(size, start, end))

    @rule(account=accounts, pick=picks, other=picks, epoch=small_epochs, keep=st.sampled_from([0, 1, ENCODED, 9 << 20]))
    def reshape(self, account: str, pick: int, other: int, epoch: int, keep: int) -> None:
        storage = self.pick(keys.STORAGE, pick)
        account = self.owner(keys.STORAGE, storage, account)
        match pick % 4:
            case 0:
                self.submit(account, SplitStorageByEpoch(Existing(storage), epoch))
            case 1:
                self.submit(account, SplitStorageBySize(Existing(storage), keep))
            case 2:
                self.submit(account, FuseStorage(Existing(storage), Existing(self.pick(keys.STORAGE, other))))
                self.submit(
                    account, SplitStorageBySize(Existing(storage), 1), FuseStorage(Existing(storage), Created(0, 0))
                )
            case _:
                self.submit(account, DestroyStorage(Existing(storage)))

    @rule(account=accounts, root=st.sampled_from(ROOTS), end=st.integers(2, 6), deletable=st.booleans())
    def reserve_and_register(self, account: str, root: bytes, end: int, deletable: bool) -> None:
        blob_id = derive_blob_id(1, 1, root)
        end += queries.system(self.sandbox.state).epoch - 1
        register = RegisterBlob(Created(0, 0), blob_id, root, 1, 1, deletable)
        self.submit(account, ReserveSpace(ENCODED, 0, end), register)

    @rule(account=accounts, pick=picks, wrong=st.integers(0, 9))
    def certify(self, account: str, pick: int, wrong: int) -> None:
        object_id = self.pick(keys.BLOB, pick)
        blob = queries.blob(self.sandbox.state, object_id)
        account = self.owner(keys.BLOB, object_id, account)
        blob_id = bytes(32) if blob is None else blob.blob_id
        is_deletable = blob is not None and blob.deletable
        command = self.sandbox.certify_blob(
            Existing(object_id), blob_id, object_id=object_id if is_deletable != (wrong == 1) else None
        )
        if wrong == 2:
            command = replace(command, signers=b"\x01")
        if wrong == 3:
            command = replace(command, signature=bytes(96))
        self.submit(account, command)

    @rule(account=accounts, pick=picks, other=picks, n=st.integers(0, 4))
    def extend(self, account: str, pick: int, other: int, n: int) -> None:
        blob = self.pick(keys.BLOB, pick)
        account = self.owner(keys.BLOB, blob, account)
        if pick % 2:
            self.submit(account, ExtendBlob(Existing(blob), n))
        else:
            self.submit(account, ExtendBlobWithStorage(Existing(blob), Existing(self.pick(keys.STORAGE, other))))

    @rule(account=accounts, pick=picks)
    def extend_with_fresh_storage(self, account: str, pick: int) -> None:
        object_id = self.pick(keys.BLOB, pick)
        blob = queries.blob(self.sandbox.state, object_id)
        if blob is not None:
            account = self.owner(keys.BLOB, object_id, account)
            reserve = ReserveSpace(blob.storage_size_bytes, blob.end_epoch, blob.end_epoch + 1)
            self.submit(account, reserve, ExtendBlobWithStorage(Existing(object_id), Created(0, 0)))

    @rule(account=accounts, pick=picks, amount=gifts)
    def share(self, account: str, pick: int, amount: int) -> None:
        blob = self.pick(keys.BLOB, pick)
        self.submit(self.owner(keys.BLOB, blob, account), ShareBlob(Existing(blob), amount))

    @rule(
        account=accounts, root=st.sampled_from(ROOTS), end=st.integers(2, 6), amount=st.sampled_from([0, WAL // 1000])
    )
    def store_and_share(self, account: str, root: bytes, end: int, amount: int) -> None:
        blob_id = derive_blob_id(1, 1, root)
        end += queries.system(self.sandbox.state).epoch - 1
        certify = self.sandbox.certify_blob(Created(1, 0), blob_id)
        register = RegisterBlob(Created(0, 0), blob_id, root, 1, 1, False)
        self.submit(account, ReserveSpace(ENCODED, 0, end), register, certify, ShareBlob(Created(1, 0), amount))

    @rule(account=accounts, pick=picks, amount=gifts, n=st.integers(0, 4))
    def fund_or_extend_shared(self, account: str, pick: int, amount: int, n: int) -> None:
        blob = self.pick(keys.SHARED_BLOB if pick % 4 else keys.BLOB, pick)
        fund, extend = FundSharedBlob(Existing(blob), amount), ExtendSharedBlob(Existing(blob), n)
        self.submit(account, *((fund,), (extend,), (fund, extend))[pick % 3])

    @rule(account=accounts, pick=picks)
    def delete_or_burn(self, account: str, pick: int) -> None:
        blob = self.pick(keys.BLOB, pick)
        account = self.owner(keys.BLOB, blob, account)
        self.submit(account, DeleteBlob(Existing(blob)) if pick % 3 else BurnBlob(Existing(blob)))

    @rule(account=accounts, pick=picks, key=st.sampled_from(["a", "b", "", "k" * 200]))
    def attribute(self, account: str, pick: int, key: str) -> None:
        blob = self.pick(keys.BLOB, pick)
        account = self.owner(keys.BLOB, blob, account)
        if pick % 3:
            self.submit(account, SetBlobAttribute(Existing(blob), key, str(pick)))
        else:
            self.submit(account, RemoveBlobAttribute(Existing(blob), key))

    @rule(account=accounts, n_signers=st.integers(1, 3))
    def invalidate(self, account: str, n_signers: int) -> None:
        epoch = queries.system(self.sandbox.state).epoch
        message = messages.invalid_blob_id(epoch, derive_blob_id(1, 1, ROOTS[2]))
        signature, signers = self.sandbox.certify(message, signers=range(n_signers))
        self.submit(account, InvalidateBlobId(message, signature, signers))

    @rule(account=accounts, number=st.integers(0, 3), wrong=st.booleans())
    def register_node(self, account: str, number: int, wrong: bool) -> None:
        secret = SCHEME.generate(bytes([number]) * 32)
        key, sender = SCHEME.public_key(secret), self.sandbox.address(account)
        epoch = queries.system(self.sandbox.state).epoch
        proof = SCHEME.sign(secret, messages.proof_of_possession(epoch, sender, key))
        self.submit(
            account,
            RegisterNode(
                f"new-{number // 2}", ("a:1",), key, b"", bytes(96) if wrong else proof, 100, 5, 5, 1 << 40, sender
            ),
        )

    @rule(account=accounts, pick=picks, addresses=st.sampled_from([(), ("b:2",), ("c:3", "d:4")]))
    def set_addresses(self, account: str, pick: int, addresses: tuple[str, ...]) -> None:
        node_id = self.pick(keys.NODE, pick)
        node = queries.node(self.sandbox.state, node_id)
        governance = None if node is None else node.governance
        account = next((name for name in ACCOUNTS if self.sandbox.address(name) == governance), account)
        self.submit(account, SetNodeAddresses(node_id, addresses))

    @rule(account=accounts, pick=picks, amount=st.sampled_from([1, 2 * WAL, 100 * WAL]))
    def stake(self, account: str, pick: int, amount: int) -> None:
        self.submit(account, Stake(self.pick(keys.NODE, pick), amount))

    @rule(account=accounts, pick=picks, other=picks, amount=st.sampled_from([1, WAL]))
    def reshape_stake(self, account: str, pick: int, other: int, amount: int) -> None:
        staked = self.pick(keys.STAKED_WAL, pick)
        account = self.owner(keys.STAKED_WAL, staked, account)
        if pick % 2:
            self.submit(account, SplitStake(Existing(staked), amount))
        elif pick % 4:
            self.submit(account, SplitStake(Existing(staked), WAL), JoinStake(Existing(staked), Created(0, 0)))
        else:
            self.submit(account, JoinStake(Existing(staked), Existing(self.pick(keys.STAKED_WAL, other))))

    # --- blocks and time ------------------------------------------------------------------------------------

    @rule(elapsed_ms=st.sampled_from([0, 1000, 50_000, 100_000, 700_000]))
    def make_block(self, elapsed_ms: int = 1000) -> None:
        """Apply what is pending, one more copy of its first transaction included, and check the block."""
        sandbox, parent = self.sandbox, self.sandbox.head
        before = Draft(sandbox.state)
        given = [*self.pending, *self.pending[:1]]
        self.pending = []
        out = apply_block(before, parent, parent.time_ms + elapsed_ms, given, SCHEME)
        if elapsed_ms <= 600_000 and given:
            assert out.inadmissible == ((len(given) - 1, "DUPLICATE_TRANSACTION"),)
        again = apply_block(before, parent, parent.time_ms + elapsed_ms, out.transactions, SCHEME)
        assert again.header == out.header and again.writes == out.writes and not again.inadmissible
        self.check_refusals_change_nothing(out.transactions, parent.time_ms + elapsed_ms)
        sandbox.apply(out.transactions, time_ms=parent.time_ms + elapsed_ms)
        assert sandbox.head == out.header

    def check_refusals_change_nothing(self, transactions: tuple[bytes, ...], time_ms: int) -> None:
        """The refused ones alone leave no event, and no change but receipts and the block's own rows."""
        out = apply_block(self.sandbox.state, self.sandbox.head, time_ms, transactions, SCHEME)
        refused = [raw for raw, result in zip(out.transactions, out.results, strict=True) if not result.is_ok]
        alone = apply_block(self.sandbox.state, self.sandbox.head, time_ms, refused, SCHEME)
        if any(result.is_ok for result in alone.results):
            return  # it was refused for what another one of the block had done
        assert not alone.events
        for key, value in alone.writes.items():
            if key[:1] != keys.RECEIPT and keys.is_committed(key):
                assert self.sandbox.state.get(key) == value

    # --- epochs ---------------------------------------------------------------------------------------------

    @rule()
    def pass_epoch(self) -> None:
        """The next epoch, Done or not; how epochs pass in detail is another machine's."""
        if self.pending:
            self.make_block()
        epoch = queries.system(self.sandbox.state).epoch
        self.sandbox.run("alice", ForceDone(epoch))
        assert self.sandbox.run("bob", AdvanceEpoch(epoch)).is_ok
        if epoch % 2:
            self.sandbox.report_sync_done()

    # --- what always holds ----------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "sandbox") or self.followed == len(self.sandbox.events):
            return
        invariants.check(self.sandbox.state)
        for event in self.sandbox.events[self.followed :]:
            self.projection.follow(event)
        invariants.check_epoch_events(self.sandbox.events)
        self.followed = len(self.sandbox.events)
        assert self.projection.find_differences(self.sandbox.state) == []

    def teardown(self) -> None:
        if not hasattr(self, "sandbox"):
            return
        replayed = Draft(EmptyView())
        out = build_genesis(NETWORK.genesis, SCHEME)
        replayed.absorb(out.writes)
        for block in self.sandbox.blocks[1:]:
            out = apply_block(replayed, out.header, block.header.time_ms, block.transactions, SCHEME)
            assert out.header == block.header
            replayed.absorb(out.writes)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=settings.default.max_examples // 5 + 30,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)
