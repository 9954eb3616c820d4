"""Blobs that their writer encoded wrongly: proven by whoever finds it, attested by f + 1, invalid from then on for all.

A node that rebuilds a sliver from proven symbols and gets another one than the metadata names holds a proof
(`spec/encoding.md` 8.4). It sends the proof to the other members, those with most shards first; each checks it and
signs. With f + 1 of weight, one of them honest, the ledger marks the blob id invalid: every reader hears the same from
then on, nobody tries to complete the blob any more, and its slivers are deleted.

Nothing of it is kept. Who stops half-way still lacks the sliver, finds the same again, and asks again.
"""

from __future__ import annotations

from haulout import bcs
from haulout.account.wallet import Wallet
from haulout.codec.metadata import BlobMetadata, InconsistencyProof
from haulout.crypto.certificate import bitmap_of
from haulout.crypto.messages import invalid_blob_id
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import HauloutError, Rejected
from haulout.ledger import queries
from haulout.ledger.commands import InvalidateBlobId
from haulout.ledger.state import Member
from haulout.node import rules
from haulout.node.identity import NodeIdentity
from haulout.node.metrics import NodeMetrics
from haulout.node.peers import Peers
from haulout.node.rebuild import check_proof
from haulout.node.vault import Vault
from haulout.ports import SignedMessage, Workers
from haulout.primitives import Axis, BlobId, ObjectId, is_one_correct


class InconsistencyProver:
    """Proves to the others that a blob is encoded wrongly, and has the ledger say so."""

    def __init__(
        self,
        *,
        identity: NodeIdentity,
        wallet: Wallet | None,
        vault: Vault,
        peers: Peers,
        scheme: SignatureScheme,
        workers: Workers,
        metrics: NodeMetrics,
    ) -> None:
        self._identity = identity
        self._wallet = wallet
        self._vault = vault
        self._peers = peers
        self._scheme = scheme
        self._workers = workers
        self._metrics = metrics

    async def attest(self, blob_id: BlobId, metadata: BlobMetadata, axis: Axis, proof: bytes) -> SignedMessage:
        """Sign that a blob is encoded wrongly, if the proof (BCS of `InconsistencyProof`) shows it.

        Raises:
            InvalidBlob, NotRegistered, ShardNotAssigned: there is nothing to attest.
            UndecodableBytes, WrongSymbolCount, ProofMismatch, NotInconsistent: it shows nothing; others of
                `verify_inconsistency_proof` too.
        """
        self._check_may_attest(blob_id)
        await self._workers.run(check_proof, metadata, axis, proof)
        self._check_may_attest(blob_id)
        message = invalid_blob_id(self._vault.duty().epoch, blob_id)
        return SignedMessage(message, await self._workers.run(self._scheme.sign, self._identity.bls_secret, message))

    def _check_may_attest(self, blob_id: BlobId) -> None:
        rules.check_may_attest(self._vault.view, blob_id, duty=self._vault.duty(), height=self._vault.height)

    async def report(self, blob_id: BlobId, metadata: BlobMetadata, axis: Axis, proof: InconsistencyProof) -> bool:
        """Have a blob marked invalid; says whether it is. When too few attest it now, it is for later."""
        self._metrics.inconsistent_blobs.inc()
        epoch = self._vault.duty().epoch
        signatures = await self._gather(epoch, blob_id, metadata, axis, bcs.encode(proof))
        committee = queries.find_committee(self._vault.view, epoch)
        if self._wallet is None or committee is None:
            return False
        signers = [index for index, member in enumerate(committee.members) if member.node_id in signatures]
        weight = sum(len(committee.members[index].shards) for index in signers)
        if not is_one_correct(weight, metadata.n_shards):
            return False
        aggregate = self._scheme.aggregate([signatures[ObjectId(committee.members[i].node_id)] for i in signers])
        command = InvalidateBlobId(invalid_blob_id(epoch, blob_id), aggregate, bitmap_of(signers))
        try:
            await self._wallet.execute([command])
        except Rejected as e:
            if e.code != "ALREADY_INVALID":  # somebody else was faster, or the epoch is over: then once more
                return False
        return True

    async def _gather(
        self, epoch: int, blob_id: BlobId, metadata: BlobMetadata, axis: Axis, proof: bytes
    ) -> dict[ObjectId, bytes]:
        """Signatures by node until they weigh enough, our own first."""
        message = invalid_blob_id(epoch, blob_id)
        committee = queries.find_committee(self._vault.view, epoch)
        members = [] if committee is None else sorted(committee.members, key=self._order)
        signatures: dict[ObjectId, bytes] = {}
        weight = 0
        for member in members:
            if is_one_correct(weight, metadata.n_shards):
                break
            try:
                signed = await self._ask(epoch, blob_id, metadata, axis, proof, member)
            except HauloutError:
                continue  # it is away, or has not caught up; the next one
            if signed is None or signed.message != message:
                continue
            if await self._workers.run(self._scheme.verify, member.public_key, message, signed.signature):
                signatures[ObjectId(member.node_id)] = signed.signature
                weight += len(member.shards)
        return signatures

    def _order(self, member: Member) -> tuple[bool, int, bytes]:
        return member.node_id != self._identity.node_id, -len(member.shards), member.node_id

    async def _ask(
        self, epoch: int, blob_id: BlobId, metadata: BlobMetadata, axis: Axis, proof: bytes, member: Member
    ) -> SignedMessage | None:
        if member.node_id == self._identity.node_id:
            return await self.attest(blob_id, metadata, axis, proof)
        peer = self._peers.find(self._vault.view, ObjectId(member.node_id), member.shards)
        if peer is None:
            return None
        api = self._peers.connect(peer)
        answer = api.attest_inconsistency(epoch=epoch, blob_id=blob_id, axis=axis, proof=proof)
        return await self._peers.ask(peer, answer)
