"""Epochs, stake and committees as a rule-based machine: who comes, goes, reports, earns and withdraws is drawn.

After every command the invariants hold, the events alone give the state, and epochs go their way; at the end all
blocks are executed again.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from haulout import bcs
from haulout.crypto import ed25519, messages
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import invariants, keys, queries
from haulout.ledger.apply import PROTOCOL_VERSION, apply_block
from haulout.ledger.commands import (
    AddSubsidy,
    AdvanceEpoch,
    CancelLeave,
    ChangeEpoch,
    CollectCommission,
    EndVoting,
    Existing,
    ForceDone,
    FundSubsidies,
    JoinActiveSet,
    OpenSubsidies,
    ProcessSubsidies,
    ReportSyncDone,
    RequestLeave,
    RequestWithdraw,
    ReserveSpace,
    SetCommission,
    SetNextPublicKey,
    SetNodeAccounts,
    SetSubsidies,
    SetVotes,
    SplitStake,
    Stake,
    UpdatePrices,
    UpdateProtocolVersion,
    Withdraw,
)
from haulout.ledger.draft import Draft, EmptyView
from haulout.ledger.genesis import NodeSecrets, build_development_network, build_genesis
from haulout.ledger.projection import Projection
from haulout.ledger.sandbox import Sandbox
from haulout.ledger.state import StakedWal
from haulout.primitives import ObjectId

SCHEME = KeyedHash()
WAL = 10**9
ACCOUNTS = ("alice", "bob")
DURATION_MS = 100_000
NETWORK = build_development_network(
    node_addresses={f"node-{i}": (f"127.0.0.1:{7000 + i}",) for i in range(5)},
    n_shards=10,
    stake_frost={f"node-{i}": (3 + i) * WAL for i in range(5)},
    account_funds_frost=dict.fromkeys(ACCOUNTS, 200 * WAL),
    genesis_time_ms=1_000_000,
    seed=bytes(32),
    scheme=SCHEME,
    max_epochs_ahead=6,
    node_capacity_bytes=1 << 40,
    storage_price_frost=7_001,
    epoch_duration_ms=DURATION_MS,
    manual_epochs=True,
)

accounts = st.sampled_from(ACCOUNTS)
picks = st.integers(0, 1 << 16)


class EpochMachine(RuleBasedStateMachine):
    @initialize()
    def found(self) -> None:
        self.sandbox = Sandbox(NETWORK, SCHEME)
        self.projection = Projection()
        self.followed = 0
        self.supply_frost = queries.system(self.sandbox.state).supply_frost

    @property
    def epoch(self) -> int:
        return queries.system(self.sandbox.state).epoch

    def node(self, pick: int) -> NodeSecrets:
        return self.sandbox.nodes[pick % len(self.sandbox.nodes)]

    # --- time -----------------------------------------------------------------------------------------------

    @rule(
        step=st.sampled_from([EndVoting, ChangeEpoch, ForceDone, AdvanceEpoch]),
        elapsed_ms=st.sampled_from([0, DURATION_MS // 2, DURATION_MS]),
        ahead=st.sampled_from([0, 0, 0, 0, 1]),
    )
    def step_epoch(self, step: type[Any], elapsed_ms: int, ahead: int) -> None:
        time_ms = self.sandbox.head.time_ms + elapsed_ms
        raw = self.sandbox.sign("alice", step(self.epoch + ahead), valid_until_ms=time_ms)
        self.sandbox.apply([raw], time_ms=time_ms)

    @rule(n_reports=st.integers(0, 9), whole=st.booleans())
    def pass_epoch(self, n_reports: int, whole: bool) -> None:
        """Change the epoch, and let some members report all of their shards, or half of them."""
        epoch = self.epoch
        self.sandbox.run("alice", ForceDone(epoch))
        assert self.sandbox.run("bob", AdvanceEpoch(epoch)).is_ok
        capabilities = {node.node_id: node.capability_secret for node in self.sandbox.nodes}
        for member in queries.committee(self.sandbox.state).members[:n_reports]:
            shards = member.shards if whole else member.shards[: len(member.shards) // 2]
            report = ReportSyncDone(member.node_id, epoch + 1, shards)
            assert self.sandbox.run_with(capabilities[ObjectId(member.node_id)], report).is_ok

    @rule()
    def pass_epoch_in_peace(self) -> None:
        self.sandbox.report_sync_done()
        self.pass_epoch(n_reports=9, whole=True)

    @rule(pick=picks, shards=st.lists(st.integers(0, 11), max_size=4), late=st.sampled_from([0, 0, 0, 1]))
    def report(self, pick: int, shards: list[int], late: int) -> None:
        node = self.node(pick)
        arriving = [record.shard_index for record in queries.open_hand_overs(self.sandbox.state, to_node=node.node_id)]
        report = ReportSyncDone(node.node_id, self.epoch - late, tuple(shards if pick % 3 == 0 else arriving))
        self.sandbox.run_with(node.capability_secret, report)

    # --- money ----------------------------------------------------------------------------------------------

    @rule(account=accounts, size_mib=st.sampled_from([1, 999, 54_321]), end=st.integers(1, 7))
    def earn(self, account: str, size_mib: int, end: int) -> None:
        """Storage is bought, so that there is something to pay to the nodes."""
        self.sandbox.run(account, ReserveSpace(size_mib << 20, 0, self.epoch + end))

    @rule(account=accounts, pick=picks, what=st.integers(0, 5), amount=st.sampled_from([0, 7, 999, WAL]))
    def subsidise(self, account: str, pick: int, what: int, amount: int) -> None:
        secret, address = NETWORK.account_secrets["alice"], self.sandbox.address("alice")
        match what:
            case 0:
                self.sandbox.run(account, AddSubsidy(amount, pick % 8))
            case 1:
                governor = self.node(pick).governance_secret if pick % 5 else secret
                self.sandbox.run_with(governor, OpenSubsidies(pick % 20_000, 10, 3))
                for node in NETWORK.nodes:  # whoever it is hands the fund over
                    self.sandbox.run_with(node.governance_secret, SetSubsidies(address, pick % 20_000, 10, 3))
            case 2:
                rate = pick * 20 if pick % 3 else 100
                self.sandbox.run(account, SetSubsidies(address, rate, pick % 100, pick % 30))
            case 3:
                self.sandbox.run(account, FundSubsidies(amount))
            case _:
                self.sandbox.run(account, ProcessSubsidies())

    @rule(account=accounts, pick=picks, amount=st.sampled_from([WAL - 1, WAL, 2 * WAL + 7, 40 * WAL]))
    def stake(self, account: str, pick: int, amount: int) -> None:
        self.sandbox.run(account, Stake(self.node(pick).node_id, amount))

    @rule(pick=picks, swing=st.sampled_from([WAL, 5 * WAL, 60 * WAL]))
    def swing(self, pick: int, swing: int) -> None:
        """Stake comes, shards follow, stake goes: everything that is withdrawn in between is asked for at once."""
        staked = self.sandbox.run("bob", Stake(self.node(pick).node_id, swing))
        self.pass_epoch(n_reports=pick % 9, whole=pick % 4 > 0)
        if staked.is_ok:
            self.sandbox.run("bob", RequestWithdraw(Existing(staked.created[0][0])))
        self.pass_epoch(n_reports=9, whole=True)
        if staked.is_ok:
            self.sandbox.run("bob", Withdraw(Existing(staked.created[0][0])))

    @rule(
        pick=picks, what=st.sampled_from([RequestWithdraw, RequestWithdraw, Withdraw, Withdraw, Withdraw, SplitStake])
    )
    def take_stake_out(self, pick: int, what: type[Any]) -> None:
        rows = list(self.sandbox.state.scan(*keys.table_range(keys.STAKED_WAL)))
        if not rows:
            return
        key, raw = rows[pick % len(rows)]
        staked: StakedWal = bcs.decode(StakedWal, raw)
        arguments = (WAL + 3,) if what is SplitStake else ()
        self.sandbox.run_with(self.secret_of(staked.owner), what(Existing(key[1:]), *arguments))

    def secret_of(self, address: bytes) -> bytes:
        secrets = [NETWORK.account_secrets[name] for name in ACCOUNTS]
        secrets += [node.governance_secret for node in self.sandbox.nodes]
        return next(secret for secret in secrets if ed25519.address_of(ed25519.public_key(secret)) == address)

    # --- nodes ----------------------------------------------------------------------------------------------

    @rule(account=accounts, stake=st.sampled_from([0, WAL, 3 * WAL, 9 * WAL]))
    def add_node(self, account: str, stake: int) -> None:
        balance = queries.balance(self.sandbox.state, self.sandbox.address(account))
        if balance >= stake and len(self.sandbox.nodes) < 9:
            self.sandbox.add_node(f"added-{len(self.sandbox.nodes)}", account, stake)

    @rule(pick=picks, odd=st.integers(0, 9))
    def leave_or_stay(self, pick: int, odd: int) -> None:
        node = self.node(pick)
        row = queries.node(self.sandbox.state, node.node_id)
        is_leaving = row is not None and row.leaving
        command = CancelLeave if is_leaving != (odd == 8) else RequestLeave
        self.sandbox.run_with(node.governance_secret, command(node.node_id, self.epoch + (odd == 9)))

    @rule(pick=picks, value=st.sampled_from([None, 0, 1, 7_000, 1 << 40]), what=st.integers(0, 7))
    def govern(self, pick: int, value: int | None, what: int) -> None:
        node, run = self.node(pick), self.sandbox.run_with
        secret = node.capability_secret if pick % 5 else node.governance_secret
        match what:
            case 0 | 1:
                run(secret, SetVotes(node.node_id, value, pick % 50_000, value), UpdatePrices())
            case 2:
                run(secret, SetCommission(node.node_id, pick % 12_000))
            case 3:
                run(node.governance_secret, CollectCommission(node.node_id))
            case 4:
                receiver = self.sandbox.address("bob") if pick % 3 else None
                run(node.governance_secret, SetNodeAccounts(node.node_id, None, None, receiver))
            case 5:
                run(secret, JoinActiveSet(node.node_id))
            case _:
                self.rotate_key(node, secret, pick)

    def rotate_key(self, node: NodeSecrets, secret: bytes, pick: int) -> None:
        bls = SCHEME.generate(bytes([200 + pick % 20]) * 32)
        key, sender = SCHEME.public_key(bls), ed25519.address_of(ed25519.public_key(secret))
        self.sandbox.bls_secrets[key] = bls
        proof = SCHEME.sign(bls, messages.proof_of_possession(self.epoch, sender, key))
        command = SetNextPublicKey(node.node_id, key, proof if pick % 4 else bytes(96))
        self.sandbox.run_with(secret, command)

    @rule(n_signers=st.integers(1, 9), ahead=st.integers(0, 2))
    def vote_for_rules(self, n_signers: int, ahead: int) -> None:
        """A version that no build knows, and that is never reached."""
        far = self.epoch + 1_000 if ahead else self.epoch - 1
        message = messages.protocol_version(self.epoch, start_epoch=far, version=PROTOCOL_VERSION + 1 + (ahead == 2))
        members = queries.committee(self.sandbox.state).members
        signature, signers = self.sandbox.certify(message, signers=range(min(n_signers, len(members))))
        self.sandbox.run("alice", UpdateProtocolVersion(message, signature, signers))

    # --- what always holds ----------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "sandbox") or self.followed == len(self.sandbox.events):
            return
        invariants.check(self.sandbox.state)
        for event in self.sandbox.events[self.followed :]:
            self.projection.follow(event)
        self.followed = len(self.sandbox.events)
        assert self.projection.find_differences(self.sandbox.state) == []
        assert queries.system(self.sandbox.state).supply_frost == self.supply_frost

    def teardown(self) -> None:
        if not hasattr(self, "sandbox"):
            return
        invariants.check_epoch_events(self.sandbox.events)
        replayed = Draft(EmptyView())
        out = build_genesis(NETWORK.genesis, SCHEME)
        replayed.absorb(out.writes)
        for block in self.sandbox.blocks[1:]:
            out = apply_block(replayed, out.header, block.header.time_ms, block.transactions, SCHEME)
            assert out.header == block.header
            replayed.absorb(out.writes)


TestEpochMachine = EpochMachine.TestCase
TestEpochMachine.settings = settings(
    max_examples=int(os.environ.get("LEDGER_MACHINE_EXAMPLES", "25")),
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
