"""Blobs that their writer encoded wrongly: proven by whoever finds it, attested by f + 1, invalid from then on for all.

A node that rebuilds a sliver from proven symbols and gets another one than the metadata names holds a proof
(`codec.inconsistency`). It sends the proof to the other members, those with most shards first; each checks it as it
comes and signs. With f + 1 of weight, one of them honest, the ledger marks the blob id invalid: every reader hears the
same from then on, nobody tries to complete the blob any more, and its slivers are deleted.

Nothing of it is kept. Who stops half-way still lacks the sliver, finds the same again, and asks again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from haulout import codec
from haulout.account.wallet import Wallet
from haulout.codec.metadata import BlobMetadata
from haulout.crypto.certificate import bitmap_of
from haulout.crypto.messages import invalid_blob_id
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import HauloutError, InvalidField, Rejected
from haulout.ledger import queries
from haulout.ledger.commands import InvalidateBlobId
from haulout.ledger.state import Member
from haulout.node import rules
from haulout.node.identity import NodeIdentity
from haulout.node.metrics import NodeMetrics
from haulout.node.peers import Peers
from haulout.node.pieces import is_in_stripes
from haulout.node.rebuild import check_proof
from haulout.node.vault import Vault
from haulout.ports import ProofUpload, SignedMessage, Workers
from haulout.primitives import Axis, BlobId, ObjectId, is_one_correct
from haulout.replica.replica import close_stream

CHECK_BYTES = 1024 * 1024  # of a proof in stripes, checked together

ProofSource = Callable[[], ProofUpload]  # the proof from its beginning, for one who is to check it


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

    async def attest(self, blob_id: BlobId, metadata: BlobMetadata, axis: Axis, proof: ProofUpload) -> SignedMessage:
        """Sign that a blob is encoded wrongly, if the proof shows it.

        Raises:
            InvalidBlob, NotRegistered, ShardNotAssigned: there is nothing to attest.
            InvalidField: too long or too short a proof.
            UndecodableBytes, WrongSymbolCount, ProofMismatch, NotInconsistent: it shows nothing; others of
                `verify_inconsistency_proof` and `StripedProofCheck` too.
        """
        self._check_may_attest(blob_id)
        try:
            if is_in_stripes(metadata):
                await self._check_striped(metadata, axis, proof)
            else:
                rules.check_proof_size(proof.size_bytes, metadata.n_shards)
                await self._workers.run(check_proof, metadata, axis, await _gather_bytes(proof))
        finally:
            await close_stream(proof.chunks)
        self._check_may_attest(blob_id)
        message = invalid_blob_id(self._vault.duty().epoch, blob_id)
        return SignedMessage(message, await self._workers.run(self._scheme.sign, self._identity.bls_secret, message))

    async def _check_striped(self, metadata: BlobMetadata, axis: Axis, proof: ProofUpload) -> None:
        """Check a proof about a sliver that may be larger than memory, some stripes at a time."""
        shape = codec.striped_inconsistency.shape_of_proof(metadata, axis)
        if proof.size_bytes != shape.size_bytes:
            problem = f"{proof.size_bytes} bytes, a proof about this blob has {shape.size_bytes}"
            raise InvalidField(field="proof", problem=problem)
        parts = _cut(proof.chunks, shape.head_bytes, shape.stripe_bytes)
        head = await anext(parts)
        check = await self._workers.run(codec.striped_inconsistency.StripedProofCheck, metadata, axis, head)
        async for stripes in parts:
            await self._workers.run(check.add, stripes)
        await self._workers.run(check.finish)

    def _check_may_attest(self, blob_id: BlobId) -> None:
        rules.check_may_attest(self._vault.view, blob_id, duty=self._vault.duty(), height=self._vault.height)

    async def report(self, blob_id: BlobId, metadata: BlobMetadata, axis: Axis, proof: ProofSource) -> bool:
        """Have a blob marked invalid; says whether it is. When too few attest it now, it is for later."""
        self._metrics.inconsistent_blobs.inc()
        epoch = self._vault.duty().epoch
        signatures = await self._gather(epoch, blob_id, metadata, axis, proof)
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
        self, epoch: int, blob_id: BlobId, metadata: BlobMetadata, axis: Axis, proof: ProofSource
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
        self, epoch: int, blob_id: BlobId, metadata: BlobMetadata, axis: Axis, proof: ProofSource, member: Member
    ) -> SignedMessage | None:
        if member.node_id == self._identity.node_id:
            return await self.attest(blob_id, metadata, axis, proof())
        peer = self._peers.find(self._vault.view, ObjectId(member.node_id), member.shards)
        if peer is None:
            return None
        upload = proof()
        answer = self._peers.connect(peer).attest_inconsistency(epoch=epoch, blob_id=blob_id, axis=axis, proof=upload)
        return await self._peers.ask(peer, answer, sent_bytes=upload.size_bytes)


def whole_proof(raw: bytes) -> ProofSource:
    """A proof that is in memory."""

    async def chunks() -> AsyncIterator[bytes]:
        yield raw

    return lambda: ProofUpload(len(raw), chunks())


async def _gather_bytes(proof: ProofUpload) -> bytes:
    """A proof whose size was looked at."""
    raw = bytearray()
    async for chunk in proof.chunks:
        raw += chunk
        if len(raw) > proof.size_bytes:
            break
    if len(raw) != proof.size_bytes:
        raise InvalidField(field="proof", problem=f"not the {proof.size_bytes} bytes that were announced")
    return bytes(raw)


async def _cut(chunks: AsyncIterator[bytes], head_bytes: int, stripe_bytes: int) -> AsyncIterator[bytes]:
    """The head of a proof, then whole stripes, about `CHECK_BYTES` of them at a time."""
    batch_bytes = max(1, CHECK_BYTES // stripe_bytes) * stripe_bytes
    pending, has_head = bytearray(), False
    async for chunk in chunks:
        pending += chunk
        while len(pending) >= (size := batch_bytes if has_head else head_bytes):
            yield bytes(pending[:size])
            del pending[:size]
            has_head = True
    if not has_head or len(pending) % stripe_bytes:
        raise InvalidField(field="proof", problem="it ends within its head or a stripe")
    if pending:
        yield bytes(pending)
