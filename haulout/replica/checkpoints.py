"""Checkpoints over a kept ledger: what there is to sign for a block, and whether a certified one is the truth here."""

from __future__ import annotations

from haulout.chain.checkpoint import (
    CertifiedCheckpoint,
    Checkpoint,
    check_checkpoint,
    checkpoint_of,
    committee_digest,
)
from haulout.crypto.certificate import Signer
from haulout.crypto.schemes import SignatureScheme
from haulout.ledger import keys, queries
from haulout.ledger.state import Committee
from haulout.replica.errors import CheckpointConflict
from haulout.replica.ledger_store import LedgerStore


def find_checkpoint(store: LedgerStore, height: int) -> Checkpoint | None:
    """The checkpoint of a block as this ledger knows it; None when it cannot tell, as for genesis and for blocks that
    are not kept or whose committee is forgotten.

    Raises:
        BlockNotKept: not made yet, or pruned.
    """
    epoch = store.epoch_before(height)
    if epoch is None:
        return None
    next_committee = None
    if store.epoch_start(epoch + 1) == height:
        raw = store.view.get(keys.committee(epoch + 1))
        if raw is None:
            return None
        next_committee = committee_digest(raw)
    header = store.find_header(height) or store.header(height)
    return checkpoint_of(header, epoch=epoch, next_committee=next_committee)


def signers_of(committee: Committee) -> list[Signer]:
    """A committee as certificates see it."""
    return [Signer(member.public_key, member.weight) for member in committee.members]


def verify_checkpoint(store: LedgerStore, scheme: SignatureScheme, certified: CertifiedCheckpoint) -> bool:
    """Whether a certified checkpoint is of a block that was executed here, signed by a committee that is known here.

    Returns:
        False when this ledger is not as far yet, or remembers no such committee.

    Raises:
        CheckpointConflict: n - f shards attest another block than the one executed here.
        InvalidBitmap, NotEnoughStake, SignatureInvalid: it is not certified at all.
    """
    checkpoint = certified.checkpoint
    if not store.oldest_height <= checkpoint.height <= store.head.height:
        return False
    committee = queries.find_committee(store.view, checkpoint.epoch)
    own = find_checkpoint(store, checkpoint.height)
    if committee is None or own is None:
        return False
    check_checkpoint(scheme, signers_of(committee), certified)
    if own != checkpoint:
        raise CheckpointConflict(
            height=checkpoint.height, attested=checkpoint.block_digest.hex(), executed=own.block_digest.hex()
        )
    return True
