"""Checkpoints: what the storage nodes sign after they have executed a block again.

A block is the sequencer's word; a checkpoint is that of n - f shards. It names the block and its roots, so whoever
trusts a committee can check any row, any older block and any event against it. A block that begins an epoch is signed
by the committee that *ends* there, and its checkpoint names the one that begins: so trust goes from committee to
committee, one signature per epoch. With epochs 4 and 5 and the change in block 90::

    … 88  89          signed by committee 4
    90                signed by committee 4, names committee 5
    91 …              signed by committee 5

There is no chain of checkpoints beside that of the blocks: `history_root` covers all blocks before, so any checkpoint
proves every earlier one, whichever heights were signed in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from haulout import bcs
from haulout.bcs import U8, U32, U64, Bytes32, Bytes96
from haulout.chain.block import BlockHeader
from haulout.crypto.certificate import Signer, check_certificate
from haulout.crypto.hashing import TAG_CHECKPOINT, TAG_COMMITTEE, blake2b256
from haulout.crypto.messages import checkpoint as checkpoint_message
from haulout.crypto.schemes import SignatureScheme
from haulout.primitives import Digest, is_quorum

CHECKPOINT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a committee attests: a block, the roots of its state and of history, and who signs from then on."""

    version: U8
    chain_id: Bytes32
    epoch: U32  # whose committee signs: that of the state before the block
    height: U64
    time_ms: U64
    block_digest: Bytes32
    state_root: Bytes32
    history_root: Bytes32
    next_committee: Bytes32 | None  # digest of the committee that the block brought in

    def digest(self) -> Digest:
        """What is signed: BLAKE2b-256 over a tag and the canonical checkpoint."""
        return blake2b256(TAG_CHECKPOINT + bcs.encode(self))

    def message(self) -> bytes:
        """The exact bytes that nodes sign (intent 128)."""
        return checkpoint_message(self.epoch, chain_id=self.chain_id, checkpoint_digest=self.digest())


@dataclass(frozen=True, slots=True)
class CheckpointSignature:
    """One node's word for a checkpoint."""

    node_id: Bytes32
    checkpoint: Checkpoint
    signature: Bytes96


@dataclass(frozen=True, slots=True)
class CertifiedCheckpoint:
    """A checkpoint with the aggregate signature of n - f shards."""

    checkpoint: Checkpoint
    signature: Bytes96
    signers: bytes  # bitmap over the members of the committee of `checkpoint.epoch`


def checkpoint_of(header: BlockHeader, *, epoch: int, next_committee: Digest | None) -> Checkpoint:
    """The one checkpoint of a block.

    Args:
        epoch: of the state before the block.
        next_committee: digest of the committee that the block brought in, if it began an epoch.
    """
    return Checkpoint(
        version=CHECKPOINT_VERSION,
        chain_id=header.chain_id,
        epoch=epoch,
        height=header.height,
        time_ms=header.time_ms,
        block_digest=header.digest(),
        state_root=header.state_root,
        history_root=header.history_root,
        next_committee=next_committee,
    )


def committee_digest(committee: bytes) -> Digest:
    """The name of a committee, from its canonical bytes as the state holds them."""
    return blake2b256(TAG_COMMITTEE + committee)


def check_checkpoint(scheme: SignatureScheme, members: Sequence[Signer], certified: CertifiedCheckpoint) -> int:
    """The weight behind a certified checkpoint, in shards.

    Args:
        members: the committee of its epoch, in its order.

    Raises:
        InvalidBitmap, NotEnoughStake, SignatureInvalid: in this order.
    """
    return check_certificate(
        scheme,
        members,
        message=certified.checkpoint.message(),
        signature=certified.signature,
        bitmap=certified.signers,
        is_enough=is_quorum,
    )
