"""The node votes for new rules: it signs (version, first epoch), and only what its owner has agreed to.

An owner agrees once, with a message signed by the account that governs the node; it is kept, and from then on whoever
asks gets the node's signature. So owners who do not know one another agree when it suits them, and anybody collects
the votes of n - f of shard weight (`client.protocol_votes`).

The node signs nothing that its own build does not know, that does not follow the version in force, or that begins in
an epoch that has begun. It never has to remember what it has signed. A vote counts in the epoch it is signed in alone,
and the ledger keeps one: of two first epochs, both agreed to by an owner who changed its mind, the one that came last,
until it takes effect. Either way the rules begin when n - f of the owners said that they may.
"""

from __future__ import annotations

from haulout.crypto import ed25519
from haulout.crypto.messages import Message, ProtocolConsent, parse, protocol_version
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import InvalidField, ProtocolVersionUnknown, UndecodableBytes
from haulout.ledger import queries
from haulout.ledger.apply import PROTOCOL_VERSION
from haulout.ledger.refusals import InvalidProtocolVersion
from haulout.node import rules
from haulout.node.errors import ConsentForbidden, CorruptRecord, NotAgreed, NotAVoter
from haulout.node.identity import NodeIdentity
from haulout.node.records import CONSENT_KEY, ROW_VERSION, ConsentRow, seal_row, unseal_row
from haulout.node.vault import Vault
from haulout.ports import SignedMessage, Store, Workers


class ProtocolVoter:
    """Keeps the owner's consent and signs by it."""

    def __init__(
        self, identity: NodeIdentity, vault: Vault, store: Store, scheme: SignatureScheme, workers: Workers
    ) -> None:
        self._identity = identity
        self._vault = vault
        self._store = store
        self._scheme = scheme
        self._workers = workers

    @property
    def agreed(self) -> tuple[int, int] | None:
        """Version and first epoch that the node would vote for now; None when there is nothing."""
        found = self._find()
        if found is None:
            return None
        body, system = found, queries.system(self._vault.view)
        is_ahead = body.protocol_version == system.protocol_version + 1 and body.start_epoch > system.epoch
        return (body.protocol_version, body.start_epoch) if is_ahead else None

    async def agree(self, consent: SignedMessage, public_key: bytes) -> None:
        """Keep what the owner agrees to, in the place of what it agreed to before; the same again is fine.

        Raises:
            InvalidField: no consent, or for another network or node.
            WrongEpoch: signed in another epoch than this node's.
            ConsentForbidden: not of the account that governs the node, or older than what is kept.
            ProtocolVersionUnknown, InvalidProtocolVersion: nothing this node could vote for.
        """
        message, body = self._read(consent.message)
        rules.check_epoch(self._vault.duty(), message.epoch)
        governance = self._governance()
        if ed25519.address_of(public_key) != governance or not ed25519.verify(
            public_key, consent.message, consent.signature
        ):
            raise ConsentForbidden(name=self._identity.name, problem="the account that governs it has not signed this")
        self._check_votable(body.protocol_version, body.start_epoch)
        kept = self._row()
        if kept is not None and kept.public_key == public_key and kept.message != consent.message:
            before, earlier = self._read(kept.message)
            if (before.epoch, earlier.signed_ms) >= (message.epoch, body.signed_ms):
                raise ConsentForbidden(name=self._identity.name, problem="its owner has signed another one since")
        row = ConsentRow(ROW_VERSION, consent.message, public_key, consent.signature)
        if row != kept:
            await self._store.commit({CONSENT_KEY: seal_row(CONSENT_KEY, row)}, durable=True)

    async def sign(self, *, epoch: int, version: int, start_epoch: int) -> SignedMessage:
        """The node's vote, as a member of the present committee.

        Raises:
            WrongEpoch: asked for in another epoch than this node's.
            ProtocolVersionUnknown, InvalidProtocolVersion: it is no version to vote for.
            NotAVoter: the node has no vote.
            NotAgreed: its owner has not agreed to exactly this.
        """
        rules.check_epoch(self._vault.duty(), epoch)
        self._check_votable(version, start_epoch)
        own = (self._identity.node_id, self._identity.public_key)
        if not any((m.node_id, m.public_key) == own for m in queries.committee(self._vault.view).members):
            raise NotAVoter(name=self._identity.name, epoch=epoch)
        if self.agreed != (version, start_epoch):
            raise NotAgreed(name=self._identity.name, protocol_version=version, start_epoch=start_epoch)
        message = protocol_version(epoch, start_epoch=start_epoch, version=version)
        return SignedMessage(message, await self._workers.run(self._scheme.sign, self._identity.bls_secret, message))

    def _check_votable(self, version: int, start_epoch: int) -> None:
        system = queries.system(self._vault.view)
        if version > PROTOCOL_VERSION:
            raise ProtocolVersionUnknown(process=self._identity.name, protocol_version=version, newest=PROTOCOL_VERSION)
        if version != system.protocol_version + 1 or start_epoch <= system.epoch:
            raise InvalidProtocolVersion(
                protocol_version=version,
                from_epoch=start_epoch,
                current=system.protocol_version,
                epoch=system.epoch,
            )

    def _read(self, raw: bytes) -> tuple[Message, ProtocolConsent]:
        message = parse(raw)
        body = message.body
        if not isinstance(body, ProtocolConsent):
            raise InvalidField(field="consent", problem=f"it is a {type(body).__name__}")
        if (body.chain_id, body.node_id) != (self._vault.replica.head.chain_id, self._identity.node_id):
            raise InvalidField(field="consent", problem="it is for another network or node")
        return message, body

    def _find(self) -> ProtocolConsent | None:
        """The consent that is kept, if it is of the account that governs the node now."""
        row = self._row()
        if row is None or ed25519.address_of(row.public_key) != self._governance():
            return None
        return self._read(row.message)[1]

    def _row(self) -> ConsentRow | None:
        """What is kept. Without it, or when it is damaged, the owner is asked once more."""
        sealed = self._store.get(CONSENT_KEY)
        if sealed is None:
            return None
        try:
            row = unseal_row(CONSENT_KEY, sealed, ConsentRow)
            self._read(row.message)
        except (CorruptRecord, UndecodableBytes, InvalidField):
            return None
        return row

    def _governance(self) -> bytes | None:
        node = queries.node(self._vault.view, self._identity.node_id)
        return None if node is None else node.governance
