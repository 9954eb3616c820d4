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
from haulout.crypto import messages
from haulout.crypto.certificate import bitmap_of
from haulout.crypto.schemes import SignatureScheme
from haulout.ledger import keys, queries
from haulout.ledger.apply import BlockOut, apply_block
from haulout.ledger.commands import CertifyBlob, Command, ObjectRef
from haulout.ledger.draft import Draft, EmptyView
from haulout.ledger.events import Event
from haulout.ledger.genesis import DevelopmentNetwork, build_genesis
from haulout.ledger.transactions import MAX_LIFE_MS, NONCE_BYTES, encode_transaction, sign_transaction
from haulout.primitives import Address, is_quorum

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
        self._signed = 0

    def address(self, account: str) -> Address:
        """The address of a named account."""
        return self.network.address(account)

    def sign(self, account: str, *commands: Command, valid_until_ms: int | None = None) -> bytes:
        """A signed transaction, ready to be applied; no two are the same."""
        self._signed += 1
        signed = sign_transaction(
            self.network.account_secrets[account],
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

    def certify(self, message: bytes, *, signers: Iterable[int] | None = None) -> tuple[bytes, bytes]:
        """Aggregate signature and bitmap of committee members over a message; just a quorum by default."""
        committee = queries.committee(self.state)
        secrets: dict[bytes, bytes] = {node.node_id: node.bls_secret for node in self.network.nodes}
        chosen = list(range(len(committee.members))) if signers is None else sorted(set(signers))
        while signers is None and is_quorum(sum(committee.members[i].weight for i in chosen[:-1]), committee.n_shards):
            chosen.pop()
        signatures = [
            self.scheme.sign(secrets[node_id], message)
            for node_id in (committee.members[i].node_id for i in chosen)
            if node_id in secrets
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
