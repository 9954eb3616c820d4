"""Confirmations of a committee's members for one blob, and what they add up to.

A member that signs anything but our message is found out at once, a signature that is none only in the end: all of
them are verified by one check of their sum, which costs as much as the check of one. When that fails each is verified
by itself, and those that are none have never counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from haulout.client.errors import ForgedConfirmation, InsufficientConfirmations
from haulout.client.network import MemberLink, Network, unreachable_text
from haulout.client.plan import is_certifiable
from haulout.crypto import messages
from haulout.crypto.certificate import bitmap_of
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import Forbidden, HauloutError, InvalidField, InvalidInput, Unavailable, WrongEpoch
from haulout.ports import SignedMessage
from haulout.primitives import BlobId, ObjectId, blob_id_text, min_correct, min_one_correct

CONFIRM_WAIT_MS = 5_000


@dataclass(frozen=True, slots=True)
class UploadedCertificate:
    """What `CertifyBlob` needs."""

    message: bytes
    signature: bytes
    bitmap: bytes
    weight: int


@dataclass(frozen=True, slots=True)
class NodeOutcome:
    """What became of a blob at one member of the committee, so far."""

    node_id: ObjectId
    name: str
    weight: int
    has_confirmed: bool
    problem: str | None  # what it answered last, when that was no confirmation


OnNode = Callable[[NodeOutcome], None]


class Confirmations:
    """What the members of a committee, by index, have said of one blob."""

    def __init__(
        self,
        network: Network,
        blob_id: BlobId,
        n_shards: int,
        *,
        epoch: int,
        members: Sequence[MemberLink],
        object_id: ObjectId | None,
        on_node: OnNode = lambda _: None,
    ) -> None:
        self._on_node = on_node
        self._network = network
        self._blob_id = blob_id
        self._n_shards = n_shards
        self._epoch = epoch
        self._members = members
        self._object_id = object_id
        self._message = messages.storage_confirmation(epoch, blob_id, object_id)
        self.signatures: dict[int, bytes] = {}  # as they were given, not verified yet
        self.forgers: set[int] = set()  # members whose signature was none
        self.problems: dict[int, HauloutError] = {}  # of those that did not confirm, the latest
        for index in range(len(members)):
            self._tell(index)

    @property
    def weight(self) -> int:
        """Shards behind the confirmations so far."""
        return sum(self._members[index].weight for index in self.signatures)

    @property
    def are_enough(self) -> bool:
        """Whether they make a certificate."""
        return is_certifiable(self.weight, self._n_shards)

    async def ask(self, index: int) -> None:
        """Get a member's signature of exactly our message.

        Raises:
            ForgedConfirmation: it signed something else.
        """
        signed = await self._members[index].api.confirm_blob(
            epoch=self._epoch, blob_id=self._blob_id, object_id=self._object_id, wait_ms=CONFIRM_WAIT_MS
        )
        await self.take(index, signed)

    async def take(self, index: int, signed: SignedMessage) -> None:
        """Count what a member has signed. Raises as `ask`."""
        if signed.message != self._message:
            raise ForgedConfirmation(node=self._members[index].name)
        self.signatures[index] = signed.signature
        self.problems.pop(index, None)
        self._tell(index)

    def failed(self, index: int, error: HauloutError) -> bool:
        """A member could not be served; says whether trying again is of no use."""
        member = self._members[index]
        self.problems[index] = error
        self._tell(index)
        self._network.record_of(member.node_id).failed(self._network.clock.monotonic_us())
        self._network.metrics.node_failures.labels(member.name).inc()
        if isinstance(error, ForgedConfirmation):
            self._network.metrics.bad_confirmations.labels(member.name).inc()
        return isinstance(error, InvalidInput | Forbidden | ForgedConfirmation)

    def _tell(self, index: int) -> None:
        member, problem = self._members[index], self.problems.get(index)
        text = None if problem is None else unreachable_text(problem)
        self._on_node(NodeOutcome(member.node_id, member.name, member.weight, index in self.signatures, text))

    async def raise_if_moved_on(self) -> None:
        """A later epoch has begun: more than f of weight speak of it, so at least one of them is honest; or one member
        does, and the ledger as it is seen here too. Confirmations of this epoch are worth nothing then."""
        later = {i: e for i, e in self.problems.items() if isinstance(e, WrongEpoch) and e.server_epoch > self._epoch}
        if not later:
            return
        weight = sum(self._members[index].weight for index in later)
        if weight >= min_one_correct(self._n_shards) or await self._sees_later_epoch():
            raise next(iter(later.values()))

    async def _sees_later_epoch(self) -> bool:
        try:
            return (await self._network.view.system()).epoch > self._epoch
        except Unavailable:
            return False  # what members say has to do

    def insufficient(self) -> InsufficientConfirmations:
        """The error of an upload that came to nothing, with what each missing member answered."""
        reasons = [
            f"{member.name}: {unreachable_text(self.problems[i]) if i in self.problems else 'no answer'}"
            for i, member in enumerate(self._members)
            if i not in self.signatures
        ]
        return InsufficientConfirmations(
            blob_id=blob_id_text(self._blob_id),
            weight=self.weight,
            needed=min_correct(self._n_shards),
            reasons=", ".join(sorted(reasons)),
        )

    async def certify(self) -> UploadedCertificate | None:
        """All of them as one, verified; None when they are not enough, or are not without those that are none."""
        while self.are_enough:
            signers = sorted(self.signatures)
            signature = await self._network.workers.run(
                _verified_sum,
                self._network.scheme,
                [self._members[index].public_key for index in signers],
                self._message,
                [self.signatures[index] for index in signers],
            )
            if signature is not None:
                weight = sum(self._members[index].weight for index in signers)
                return UploadedCertificate(self._message, signature, bitmap_of(signers), weight)
            await self._find_forgers(signers)
        return None

    async def _find_forgers(self, signers: Sequence[int]) -> None:
        """Verify signatures one by one, and forget those that are none."""
        verify, forgers = self._network.scheme.verify, []
        for index in signers:
            member = self._members[index]
            if not await self._network.workers.run(verify, member.public_key, self._message, self.signatures[index]):
                forgers.append(index)
        assert forgers, "signatures that verify one by one verify together"
        for index in forgers:
            del self.signatures[index]
            self.forgers.add(index)
            self.failed(index, ForgedConfirmation(node=self._members[index].name))


def _verified_sum(
    scheme: SignatureScheme, public_keys: Sequence[bytes], message: bytes, signatures: Sequence[bytes]
) -> bytes | None:
    """The sum of signatures of one message, or None when one of them is none."""
    try:
        total = scheme.aggregate(signatures)
    except InvalidField:
        return None
    return total if scheme.verify_aggregate(public_keys, message, total) else None
