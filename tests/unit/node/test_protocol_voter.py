"""New rules come into force by the votes of nodes whose owners agreed: real nodes, replicas and ledger in memory."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from haulout.account.wallet import Wallet
from haulout.client.errors import ForgedVote, ProtocolVotesMissing
from haulout.client.network import Network
from haulout.client.protocol_votes import activate, agree, collect, fetch_standing
from haulout.client.view import LedgerView, ProvenSource
from haulout.crypto import ed25519, messages
from haulout.errors import (
    HauloutError,
    InvalidField,
    InvalidInput,
    ProtocolVersionUnknown,
    UndecodableBytes,
    WrongEpoch,
)
from haulout.ledger import queries
from haulout.ledger.apply import PROTOCOL_VERSION
from haulout.ledger.commands import AdvanceEpoch, Existing, SetNodeAccounts, ShareBlob, UpdateProtocolVersion
from haulout.ledger.refusals import InvalidProtocolVersion, UpgradeRequired
from haulout.node import protocol_voter
from haulout.node.errors import ConsentForbidden, NotAgreed, NotAVoter
from haulout.node.records import CONSENT_KEY
from haulout.ports import SignedMessage

_spec = importlib.util.spec_from_file_location("node_world", Path(__file__).parent / "conftest.py")
assert _spec is not None and _spec.loader is not None
node_world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(node_world)

BEFORE, AFTER = PROTOCOL_VERSION - 1, PROTOCOL_VERSION


class OldWorld(node_world.World):
    """A network that was founded under the rules before the present ones."""

    def __init__(self) -> None:
        super().__init__(protocol_version=BEFORE)

    def client(self) -> Network:
        return Network(
            view=LedgerView(ProvenSource(self.sequencer, self.network.genesis.chain_id)),
            transport=self.transport,
            scheme=self.scheme,
            clock=self.clock,
            rng=self.rng,
            workers=self.workers,
        )

    def wallet(self, secret: bytes | None = None) -> Wallet:
        secret = self.network.account_secrets["client"] if secret is None else secret
        chain_id = self.network.genesis.chain_id
        return Wallet(secret, chain_id=chain_id, ledger=self.sequencer, clock=self.clock, rng=self.rng)

    def owners(self, *indices: int) -> list[bytes]:
        return [self.network.nodes[index].governance_secret for index in indices]

    async def activate(self, *owners: int, start_epoch: int | None = None) -> Any:
        done = await activate(
            self.client(), self.sequencer, self.wallet(), self.owners(*owners), start_epoch=start_epoch
        )
        await self.settle()
        return done

    def consent(self, index: int, *, epoch: int | None = None, start: int = 2, ms: int = 5, **other: Any) -> bytes:
        fields = {"chain_id": self.network.genesis.chain_id, "node_id": self.network.nodes[index].node_id}
        fields |= {"version": AFTER, "start_epoch": start, "signed_ms": ms, **other}
        return messages.protocol_consent(self.epoch if epoch is None else epoch, **fields)

    async def agree(self, index: int, message: bytes, *, owner: int | None = None) -> None:
        secret = self.network.nodes[index if owner is None else owner].governance_secret
        signed = SignedMessage(message, ed25519.sign(secret, message))
        await self.nodes[index].api.agree_to_protocol(consent=signed, public_key=ed25519.public_key(secret))

    async def vote(self, index: int, *, start: int = 2) -> SignedMessage:
        return await self.nodes[index].api.sign_protocol_vote(epoch=self.epoch, version=AFTER, start_epoch=start)

    @property
    def system(self) -> Any:
        return queries.system(self.sequencer.store.view)

    async def next_epoch(self) -> None:
        await self.submit(AdvanceEpoch(self.epoch))


@pytest.fixture
async def old():
    world = await OldWorld().start()
    yield world
    await world.stop()


async def refusal(awaited: Any) -> HauloutError:
    with pytest.raises(HauloutError) as caught:
        await awaited
    return caught.value


async def test_one_owner_activates_new_rules_from_the_next_epoch_on(old) -> None:
    _, blob = await old.store(b"something")
    refused = await refusal(old.wallet().execute([ShareBlob(Existing(blob), 0)]))
    assert (refused.code, isinstance(refused, InvalidInput)) == ("COMMAND_NOT_ACTIVE", True)

    done = await old.activate(*range(5))
    assert (done.version, done.start_epoch, done.weight, dict(done.missing)) == (AFTER, 2, 10, {})
    assert (old.system.protocol_version, old.system.next_protocol) == (BEFORE, (AFTER, 2))
    assert (await refusal(old.wallet().execute([ShareBlob(Existing(blob), 0)]))).code == "COMMAND_NOT_ACTIVE"
    height = old.sequencer.head.height
    assert (await old.activate(*range(5))).weight == 0  # it is chosen already: nothing is sent
    assert old.sequencer.head.height == height

    await old.next_epoch()
    assert (old.system.protocol_version, old.system.next_protocol) == (AFTER, None)
    await old.submit(ShareBlob(Existing(blob), 0))
    assert old.sequencer.head.protocol_version == AFTER
    for node in old.nodes:
        assert node.replica.head == old.sequencer.head
        assert node.replica.diverged is None
        assert (await node.api.health()).agreed_version == 0  # what it agreed to is done


async def test_owners_agree_one_by_one_and_the_last_puts_the_rules_in_force(old) -> None:
    missing = await refusal(old.activate(0, 1, start_epoch=3))
    assert isinstance(missing, ProtocolVotesMissing)
    assert (missing.weight, missing.needed, missing.not_agreed) == (4, 7, "node-2, node-3, node-4")
    assert (missing.too_old, missing.others) == ("none", "none")
    assert old.system.next_protocol is None

    await old.nodes[1].kill()
    await old.nodes[1].start()  # what was agreed to is durable
    await old.settle()
    await old.next_epoch()  # and outlives the epoch it was signed in
    standing = await fetch_standing(old.client(), old.sequencer)
    assert (standing.epoch, standing.current, standing.next_version, standing.chosen) == (2, BEFORE, AFTER, None)
    assert standing.ledger_knows == PROTOCOL_VERSION
    assert [node.agreed for node in standing.nodes] == [(AFTER, 3), (AFTER, 3), None, None, None]
    assert {(node.knows, node.weight) for node in standing.nodes} == {(PROTOCOL_VERSION, 2)}

    old.transport.dead.add(old.nodes[4].address)
    missing = await refusal(old.activate(2, start_epoch=4))  # another epoch than the others agreed to
    assert (missing.not_agreed, missing.others) == ("node-0, node-1, node-3", "node-4 (unreachable)")
    await old.clock.advance(1)
    done = await old.activate(2, 3, start_epoch=3)
    assert (done.weight, dict(done.missing)) == (8, {"node-4": "UNREACHABLE"})
    assert old.system.next_protocol == (AFTER, 3)


async def test_a_build_that_is_too_old_does_not_vote_and_stops_when_the_rules_begin(old, monkeypatch) -> None:
    await old.activate(0, 1, 2, 3)
    await old.nodes[4].kill()
    await old.next_epoch()
    await old.submit(ShareBlob(Existing((await old.store(b"after", 0, 1, 2, 3))[1]), 0))

    with monkeypatch.context() as patch:
        patch.setattr("haulout.replica.replica.PROTOCOL_VERSION", BEFORE)
        patch.setattr("haulout.ledger.apply.PROTOCOL_VERSION", BEFORE)
        patch.setattr(protocol_voter, "PROTOCOL_VERSION", BEFORE)
        late = await old.nodes[4].start()
        await old.settle()
        replica = old.nodes[4].replica
        assert isinstance(replica.upgrade_required, UpgradeRequired)
        assert queries.system(replica.view).protocol_version == AFTER  # the last block that it could follow chose it
        assert replica.head.protocol_version == BEFORE
        assert (late.status(), late.unready_reason()) == ("UpgradeRequired", "UPGRADE_REQUIRED")
        assert isinstance(await refusal(old.vote(4)), UpgradeRequired)
        await old.nodes[4].kill()

    late = await old.nodes[4].start()
    await old.settle()
    assert (late.status(), old.nodes[4].replica.head) == ("Active", old.sequencer.head)


async def test_a_node_of_an_old_build_takes_no_consent(old, monkeypatch) -> None:
    monkeypatch.setattr(protocol_voter, "PROTOCOL_VERSION", BEFORE)
    refused = await refusal(old.agree(0, old.consent(0)))
    assert isinstance(refused, ProtocolVersionUnknown)
    assert (refused.process, refused.protocol_version, refused.newest) == ("node-0", AFTER, BEFORE)
    missing = await refusal(old.activate(*range(5)))
    assert (missing.weight, missing.too_old) == (0, "node-0, node-1, node-2, node-3, node-4")
    assert missing.not_agreed == missing.others == "none"


async def test_the_ledger_takes_no_vote_for_rules_that_it_could_not_follow(old, monkeypatch) -> None:
    await agree(old.client(), await own(old), epoch=1, version=AFTER, start_epoch=2)
    votes = await collect(old.client(), version=AFTER, start_epoch=2)
    command = UpdateProtocolVersion(votes.message, votes.signature, votes.bitmap)
    monkeypatch.setattr("haulout.sequencer.sequencer.PROTOCOL_VERSION", BEFORE)
    refused = await refusal(old.wallet().execute([command]))
    assert isinstance(refused, ProtocolVersionUnknown)
    assert refused.process == "the ledger"
    assert isinstance(await refusal(old.activate(*range(5))), ProtocolVersionUnknown)  # before anybody is asked
    nonsense = await refusal(old.wallet().execute([UpdateProtocolVersion(b"?", votes.signature, votes.bitmap)]))
    assert nonsense.code == "SIG_VERIFICATION"  # it went to the rules
    monkeypatch.undo()
    await old.wallet().execute([command])
    assert old.system.next_protocol == (AFTER, 2)


async def own(old: Any) -> dict:
    return {node.node_id: node.governance_secret for node in old.network.nodes}


async def test_only_the_owner_lets_a_node_vote(old) -> None:
    assert isinstance(await refusal(old.vote(0)), NotAgreed)
    for message, owner, error in (
        (old.consent(0), 1, ConsentForbidden),
        (old.consent(0, epoch=2), 0, WrongEpoch),
        (old.consent(1), 0, InvalidField),
        (old.consent(0, chain_id=bytes(32)), 0, InvalidField),
        (old.consent(0, version=AFTER + 1), 0, ProtocolVersionUnknown),
        (old.consent(0, version=BEFORE), 0, InvalidProtocolVersion),
        (old.consent(0, start=1), 0, InvalidProtocolVersion),
        (messages.protocol_version(1, start_epoch=2, version=AFTER), 0, InvalidField),
        (b"nothing", 0, UndecodableBytes),
    ):
        assert isinstance(await refusal(old.agree(0, message, owner=owner)), error), (message, error)
    forged = SignedMessage(old.consent(0), bytes(64))
    key = ed25519.public_key(old.network.nodes[0].governance_secret)
    assert isinstance(
        await refusal(old.nodes[0].api.agree_to_protocol(consent=forged, public_key=key)), ConsentForbidden
    )
    assert (await old.nodes[0].api.health()).agreed_version == 0
    assert isinstance(await refusal(old.vote(0)), NotAgreed)

    await old.agree(0, old.consent(0))
    signed = await old.vote(0)
    assert signed.message == messages.protocol_version(1, start_epoch=2, version=AFTER)
    assert old.scheme.verify(old.nodes[0].api.identity.public_key, signed.message, signed.signature)
    assert isinstance(await refusal(old.vote(0, start=3)), NotAgreed)
    assert isinstance(await refusal(old.vote(0, start=1)), InvalidProtocolVersion)
    wrong = old.nodes[0].api.sign_protocol_vote(epoch=2, version=AFTER, start_epoch=3)
    assert isinstance(await refusal(wrong), WrongEpoch)


async def test_the_later_of_two_consents_counts_whatever_comes_last(old) -> None:
    first, second = old.consent(0, start=3, ms=5), old.consent(0, start=4, ms=6)
    await old.agree(0, first)
    await old.agree(0, second)
    await old.agree(0, second)
    assert isinstance(await refusal(old.agree(0, first)), ConsentForbidden)
    assert isinstance(await refusal(old.agree(0, old.consent(0, start=9, ms=6))), ConsentForbidden)
    assert isinstance(await refusal(old.vote(0, start=3)), NotAgreed)
    await old.vote(0, start=4)

    await old.next_epoch()
    await old.agree(0, old.consent(0, start=5, ms=1))  # signed in a later epoch, by a clock that was set back
    assert isinstance(await refusal(old.agree(0, second)), WrongEpoch)
    await old.vote(0, start=5)


async def test_a_consent_ends_with_its_epoch_its_owner_and_its_row(old) -> None:
    await old.agree(0, old.consent(0, start=2))
    await old.next_epoch()
    assert (await old.nodes[0].api.health()).agreed_version == 0
    await old.agree(0, old.consent(0, start=4))
    await old.vote(0, start=4)

    sealed = old.nodes[0].store.get(CONSENT_KEY)
    await old.nodes[0].store.commit({CONSENT_KEY: bytes([sealed[0] ^ 1]) + sealed[1:]})
    assert isinstance(await refusal(old.vote(0, start=4)), NotAgreed)
    await old.agree(0, old.consent(0, start=4))
    await old.vote(0, start=4)

    node, heir = old.network.nodes[0], old.network.account_secrets["client"]
    handed = SetNodeAccounts(node.node_id, ed25519.address_of(ed25519.public_key(heir)), None, None)
    await old.wallet(node.governance_secret).execute([handed])
    await old.settle()
    assert isinstance(await refusal(old.vote(0, start=4)), NotAgreed)
    assert isinstance(await refusal(old.agree(0, old.consent(0, start=4, ms=9))), ConsentForbidden)


async def test_who_is_no_member_has_no_vote_and_a_forged_one_does_not_count(old) -> None:
    await agree(old.client(), await own(old), epoch=1, version=AFTER, start_epoch=2)
    identity = old.nodes[0].api.identity
    old.nodes[0].api._voter._identity = replace(identity, public_key=bytes(48))
    assert isinstance(await refusal(old.vote(0)), NotAVoter)

    async def forge(**_: object) -> SignedMessage:
        return SignedMessage(messages.protocol_version(1, start_epoch=9, version=AFTER), b"s" * 32)

    old.nodes[1].api.sign_protocol_vote = forge
    missing = await refusal(collect(old.client(), version=AFTER, start_epoch=2))
    assert (missing.weight, missing.others) == (6, f"node-0 ({NotAVoter.code}), node-1 ({ForgedVote.code})")
    old.nodes[0].api._voter._identity = identity
    votes = await collect(old.client(), version=AFTER, start_epoch=2)
    assert (votes.weight, dict(votes.missing)) == (8, {"node-1": ForgedVote.code})


async def test_votes_of_an_epoch_that_is_over_are_worth_nothing(old) -> None:
    await agree(old.client(), await own(old), epoch=1, version=AFTER, start_epoch=3)
    votes = await collect(old.client(), version=AFTER, start_epoch=3)
    await old.next_epoch()
    refused = await refusal(old.wallet().execute([UpdateProtocolVersion(votes.message, votes.signature, votes.bitmap)]))
    assert refused.code == "INCORRECT_EPOCH"
    assert old.system.next_protocol is None
    assert (await old.activate(start_epoch=3)).weight == 10  # their owners need not agree again
