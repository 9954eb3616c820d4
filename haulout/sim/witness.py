"""What an omniscient observer writes down while a world runs: who signed what, and what was stored.

Nothing here is known to the actors, and nothing of theirs goes through here changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from haulout.chain.checkpoint import CheckpointSignature
from haulout.codec.encodings import encode_blob
from haulout.codec.red_stuff import EncodedBlob
from haulout.crypto import messages
from haulout.crypto.messages import InvalidBlobId, StorageConfirmation
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import UndecodableBytes
from haulout.primitives import BlobId, EncodingType, ObjectId


class WitnessedScheme:
    """Implements `SignatureScheme` by another one, and remembers every message that was signed, and by which key.

    Attributes:
        signers: public keys by the message that they signed.
        n_signed: how often anything was signed.
        contradictions: what signers have said of one height that cannot all be true.
    """

    def __init__(self, scheme: SignatureScheme) -> None:
        self._scheme = scheme
        self.signers: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self.n_signed = 0
        self.contradictions: list[str] = []
        self._confirmed: defaultdict[bytes, dict[BlobId, int]] = defaultdict(dict)
        self._called_invalid: set[BlobId] = set()
        self._checkpoints: dict[tuple[bytes, int, int], bytes] = {}  # digest by node, epoch, height

    def note_checkpoint(self, signed: CheckpointSignature) -> None:
        """A node has signed a checkpoint and sends it off."""
        checkpoint = signed.checkpoint
        key = (signed.node_id, checkpoint.epoch, checkpoint.height)
        if self._checkpoints.setdefault(key, checkpoint.digest()) != checkpoint.digest():
            who, where = signed.node_id.hex(), f"height {checkpoint.height} in epoch {checkpoint.epoch}"
            self.contradictions.append(f"{who} has signed two blocks of {where}")

    @property
    def name(self) -> str:
        return self._scheme.name

    def generate(self, seed: bytes) -> bytes:
        return self._scheme.generate(seed)

    def public_key(self, secret: bytes) -> bytes:
        return self._scheme.public_key(secret)

    def sign(self, secret: bytes, message: bytes) -> bytes:
        public_key = self._scheme.public_key(secret)
        if public_key not in self.signers[message]:
            self.signers[message].add(public_key)
            self._note(public_key, message)
        self.n_signed += 1
        return self._scheme.sign(secret, message)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        return self._scheme.verify(public_key, message, signature)

    def aggregate(self, signatures: Sequence[bytes]) -> bytes:
        return self._scheme.aggregate(signatures)

    def verify_aggregate(self, public_keys: Sequence[bytes], message: bytes, signature: bytes) -> bool:
        return self._scheme.verify_aggregate(public_keys, message, signature)

    def validate_public_key(self, public_key: bytes) -> bool:
        return self._scheme.validate_public_key(public_key)

    def confirmed_by(self, public_key: bytes) -> dict[BlobId, int]:
        """Blobs whose storage a key has confirmed, with the last epoch in which it did."""
        return self._confirmed[public_key]

    def called_invalid(self) -> set[BlobId]:
        """Blobs of which somebody attested that they are encoded inconsistently."""
        return self._called_invalid

    def _note(self, public_key: bytes, message: bytes) -> None:
        try:
            parsed = messages.parse(message)
        except UndecodableBytes:
            return  # not one of the messages that nodes sign: an account's key, or a proof of another kind
        if isinstance(parsed.body, StorageConfirmation):
            confirmed, blob_id = self._confirmed[public_key], BlobId(parsed.body.blob_id)
            confirmed[blob_id] = max(parsed.epoch, confirmed.get(blob_id, 0))
        elif isinstance(parsed.body, InvalidBlobId):
            self._called_invalid.add(BlobId(parsed.body.blob_id))


@dataclass
class Truth:
    """What the clients of a world were promised.

    Attributes:
        data: every blob that somebody began to store, as it should be read.
        encodings: of these, as it was asked for.
        certified: those whose store returned, or that a read has found.
        inconsistent: those that were encoded wrongly on purpose.
        forgotten: those that their owner deleted, or may have.
        verdicts: what became of reads of inconsistent blobs.
    """

    n_shards: int
    data: dict[BlobId, bytes] = field(default_factory=dict)
    encodings: dict[BlobId, EncodingType | None] = field(default_factory=dict)
    objects: dict[BlobId, ObjectId] = field(default_factory=dict)
    certified: dict[BlobId, None] = field(default_factory=dict)
    inconsistent: dict[BlobId, None] = field(default_factory=dict)
    forgotten: dict[BlobId, None] = field(default_factory=dict)
    verdicts: defaultdict[BlobId, set[str]] = field(default_factory=lambda: defaultdict(set))
    _encoded: dict[BlobId, EncodedBlob] = field(default_factory=dict)

    def note_begun(self, data: bytes, encoding: EncodingType | None = None) -> BlobId:
        """A store begins; returns the id that it must come to."""
        encoded = encode_blob(data, self.n_shards, encoding=encoding or EncodingType.RS2)
        self.data[encoded.blob_id] = data
        self.encodings[encoded.blob_id] = encoding
        self._encoded[encoded.blob_id] = encoded
        return encoded.blob_id

    def note_stored(self, blob_id: BlobId, object_id: ObjectId | None) -> None:
        """A store has returned."""
        self.certified[blob_id] = None
        if object_id is not None:
            self.objects[blob_id] = object_id

    def encoded(self, blob_id: BlobId) -> EncodedBlob:
        """All slivers as they have to be."""
        return self._encoded[blob_id]

    def promised(self) -> list[BlobId]:
        """Certified blobs that nobody gave up, in the order they were certified."""
        return [blob_id for blob_id in self.certified if blob_id not in self.forgotten]
