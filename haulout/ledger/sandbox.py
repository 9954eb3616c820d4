"""A whole ledger in one object and in memory: for examples and tests, where order and durability do not matter.

It runs the real rules on real transactions; only the sequencer and the store are missing::

    sandbox = Sandbox(build_development_network(...), scheme)
    result = sandbox.run("alice", Transfer(sandbox.address("bob"), 5))
    queries.balance(sandbox.state, sandbox.address("bob"))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from haulout.chain import tree
from haulout.chain.block import Block, BlockHeader, TransactionResult
from haulout.crypto import ed25519, messages
from haulout.crypto.certificate import bitmap_of
from haulout.crypto.hashing import blake2b256
from haulout.crypto.schemes import SignatureScheme
from haulout.ledger import keys, queries
from haulout.ledger.apply import BlockOut, apply_block
from haulout.ledger.commands import CertifyBlob, Command, ObjectRef, RegisterNode, ReportSyncDone, Stake
from haulout.ledger.draft import Draft, EmptyView
from haulout.ledger.events import Event
from haulout.ledger.genesis import DevelopmentNetwork, NodeSecrets, build_genesis
from haulout.ledger.transactions import MAX_LIFE_MS, NONCE_BYTES, encode_transaction, sign_transaction
from haulout.primitives import Address, ObjectId, is_quorum

BLOCK_INTERVAL_MS = 1000


class Sandbox:
    """A development network's ledger. `state` is its view, `events` all that happened, `blocks` the chain."""

    def __init__(self, network: DevelopmentNetwork, scheme: SignatureScheme) -> None:
        out = build_genesis(network.genesis, scheme)
        self.network = network
        self.scheme = scheme
        self.state = Draft(EmptyView())
        self.state.absorb(out.writes)
        self.head: BlockHeader = out.header
        self.blocks: list[Block] = [out.block]
        self.events: list[Event] = list(out.events)
        self.nodes: list[NodeSecrets] = list(network.nodes)
        self.bls_secrets = {scheme.public_key(node.bls_secret): node.bls_secret for node in network.nodes}
        self._signed = 0

    def address(self, account: str) -> Address:
        """The address of a named account."""
        return self.network.address(account)

    def sign(self, account: str, *commands: Command, valid_until_ms: int | None = None) -> bytes:
        """A signed transaction, ready to be applied; no two are the same."""
        return self.sign_with(self.network.account_secrets[account], *commands, valid_until_ms=valid_until_ms)

    def sign_with(self, secret: bytes, *commands: Command, valid_until_ms: int | None = None) -> bytes:
        """The same for the owner of an Ed25519 secret, such as a node's capability or governance account."""
        self._signed += 1
        signed = sign_transaction(
            secret,
            self.network.genesis.chain_id,
            commands,
            nonce=self._signed.to_bytes(NONCE_BYTES, "big"),
            valid_until_ms=self.head.time_ms + MAX_LIFE_MS if valid_until_ms is None else valid_until_ms,
        )
        return encode_transaction(signed)

    def apply(self, transactions: Sequence[bytes], *, time_ms: int | None = None) -> BlockOut:
        """Make the next block; inadmissible transactions are left out and reported."""
        time_ms = self.head.time_ms + BLOCK_INTERVAL_MS if time_ms is None else time_ms
        out = apply_block(self.state, self.head, time_ms, transactions, self.scheme)
        self.state.absorb(out.writes)
        self.head = out.header
        self.blocks.append(out.block)
        self.events.extend(out.events)
        return out

    def run(self, account: str, *commands: Command) -> TransactionResult:
        """One transaction in a block of its own; its result."""
        return self.apply([self.sign(account, *commands)]).results[0]

    def run_with(self, secret: bytes, *commands: Command) -> TransactionResult:
        """One transaction of the owner of a secret in a block of its own; its result."""
        return self.apply([self.sign_with(secret, *commands)]).results[0]

    def add_node(self, name: str, account: str, stake_frost: int = 0) -> NodeSecrets:
        """Register a node that an account governs, and stake on it; keys follow from its name."""
        bls = self.scheme.generate(blake2b256(b"bls" + name.encode()))
        capability = blake2b256(b"capability" + name.encode())
        epoch, public_key = queries.system(self.state).epoch, self.scheme.public_key(bls)
        proof = self.scheme.sign(bls, messages.proof_of_possession(epoch, self.address(account), public_key))
        votes = self.network.genesis.nodes[0]
        registration = RegisterNode(
            name=name,
            addresses=(f"{name}:1",),
            public_key=public_key,
            network_public_key=b"",
            proof_of_possession=proof,
            commission_rate_bps=votes.commission_rate_bps,
            storage_price_frost=votes.storage_price_frost,
            write_price_frost=votes.write_price_frost,
            node_capacity_bytes=votes.node_capacity_bytes,
            capability=ed25519.address_of(ed25519.public_key(capability)),
        )
        result = self.run(account, registration)
        if not result.is_ok:
            raise AssertionError(f"{name} was refused: {result.message}")
        node_id = ObjectId(result.created[0][0])
        node = NodeSecrets(name, node_id, (f"{name}:1",), bls, capability, self.network.account_secrets[account])
        self.nodes.append(node)
        self.bls_secrets[public_key] = bls
        if stake_frost and not (staked := self.run(account, Stake(node_id, stake_frost))).is_ok:
            raise AssertionError(f"{name} got no stake: {staked.message}")
        return node

    def report_sync_done(self) -> None:
        """All members whose secrets are known here report all their shards, as far as they have not yet."""
        epoch = queries.system(self.state).epoch
        secrets = {node.node_id: node.capability_secret for node in self.nodes}
        for member in queries.committee(self.state, epoch).members:
            if member.node_id in secrets:
                report = ReportSyncDone(member.node_id, epoch, member.shards)
                self.run_with(secrets[ObjectId(member.node_id)], report)

    def certify(self, message: bytes, *, signers: Iterable[int] | None = None) -> tuple[bytes, bytes]:
        """Aggregate signature and bitmap of committee members over a message; just a quorum by default."""
        committee = queries.committee(self.state)
        chosen = list(range(len(committee.members))) if signers is None else sorted(set(signers))
        while signers is None and is_quorum(sum(committee.members[i].weight for i in chosen[:-1]), committee.n_shards):
            chosen.pop()
        public_keys = [committee.members[i].public_key for i in chosen]
        signatures = [
            self.scheme.sign(self.bls_secrets[key], message) for key in public_keys if key in self.bls_secrets
        ]
        return self.scheme.aggregate(signatures), bitmap_of(chosen)

    def certify_blob(self, blob: ObjectRef, blob_id: bytes, *, object_id: bytes | None = None) -> CertifyBlob:
        """The command that certifies a blob in this epoch; `object_id` for a deletable one."""
        message = messages.storage_confirmation(queries.system(self.state).epoch, blob_id, object_id)
        signature, signers = self.certify(message)
        return CertifyBlob(blob, message, signature, signers)

    def write_rows(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Put rows past all rules, the state tree included: builds states that would take long to reach."""
        _, pages = tree.update(self.state, {key: value for key, value in rows.items() if keys.is_committed(key)})
        self.state.absorb({**rows, **pages})
