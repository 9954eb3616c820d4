"""New rules: who could follow them, who agreed to them, and the vote that puts them in force.

    fetch_standing   the version in force, the chosen one, and of each node what its build knows and its owner agreed to
    agree            a node's owner lets it vote (`node.protocol_voter`)
    collect          what the committee's members sign, until n - f of shard weight stand behind it
    activate         all of these, and the transaction

Whoever stops half-way begins anew: what was agreed to is kept by the nodes, and a vote that the ledger has taken is
seen in its state. Signatures count in the epoch they were made in alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from haulout.account.wallet import Wallet
from haulout.client.errors import ForgedVote, ProtocolVotesMissing
from haulout.client.network import MemberLink, Network, unreachable_text
from haulout.crypto import ed25519, messages
from haulout.crypto.certificate import bitmap_of
from haulout.errors import HauloutError, ProtocolVersionUnknown, WrongEpoch
from haulout.ledger.apply import PROTOCOL_VERSION
from haulout.ledger.commands import UpdateProtocolVersion
from haulout.ledger.refusals import InvalidProtocolVersion
from haulout.ports import Ledger, SignedMessage
from haulout.primitives import ObjectId, is_quorum, min_correct

NOT_AGREED = "PROTOCOL_NOT_AGREED"  # of `node.errors` and `wire.errors`, which clients do not import
UNKNOWN_CALL = "UNKNOWN_CALL"


@dataclass(frozen=True, slots=True)
class NodeReadiness:
    """A node before a change of the rules."""

    node_id: ObjectId
    name: str
    governance: bytes
    weight: int  # shards in the present committee
    knows: int | None  # newest version of its build, 0 when it does not tell; None when it does not answer
    agreed: tuple[int, int] | None  # version and first epoch that its owner lets it vote for
    problem: str = ""  # why it does not answer


@dataclass(frozen=True, slots=True)
class ProtocolStanding:
    """The rules of a network, and what is known of the next ones."""

    epoch: int
    current: int
    chosen: tuple[int, int] | None  # version and first epoch, voted and not in force yet
    ledger_knows: int  # newest version of the ledger's build, 0 when it does not tell
    n_shards: int
    nodes: tuple[NodeReadiness, ...]  # all that are registered, by name

    @property
    def next_version(self) -> int:
        return self.current + 1


@dataclass(frozen=True, slots=True)
class VoteCertificate:
    """What `UpdateProtocolVersion` needs, and why some members' signatures are not in it."""

    message: bytes
    signature: bytes
    bitmap: bytes
    weight: int
    missing: Mapping[str, str]  # code of the reason by node


@dataclass(frozen=True, slots=True)
class Activation:
    """New rules that the ledger has taken; `missing` are nodes that have not voted for them, with the reason's code."""

    version: int
    start_epoch: int
    weight: int
    missing: Mapping[str, str]


async def fetch_standing(network: Network, ledger: Ledger) -> ProtocolStanding:
    """Ask ledger and nodes.

    Raises:
        Unavailable: the ledger does not answer.
    """
    system, params = await network.view.system(), await network.view.params()
    status = await ledger.status()
    known = await network.view.all_nodes()
    weights = {ObjectId(member.node_id): member.weight for member in (await network.view.committee()).members}
    links = await network.links_of(known)

    async def ask(link: MemberLink) -> NodeReadiness:
        governance, weight = known[link.node_id].governance, weights.get(link.node_id, 0)
        try:
            health = await link.api.health()
        except HauloutError as e:
            return NodeReadiness(link.node_id, link.name, governance, weight, None, None, unreachable_text(e))
        agreed = (health.agreed_version, health.agreed_epoch) if health.agreed_version else None
        return NodeReadiness(link.node_id, link.name, governance, weight, health.protocol_version, agreed)

    nodes = await asyncio.gather(*map(ask, links))
    return ProtocolStanding(
        epoch=system.epoch,
        current=system.protocol_version,
        chosen=system.next_protocol,
        ledger_knows=status.protocol_version,
        n_shards=params.n_shards,
        nodes=tuple(sorted(nodes, key=lambda node: node.name)),
    )


async def agree(
    network: Network, nodes: Mapping[ObjectId, bytes], *, epoch: int, version: int, start_epoch: int
) -> dict[ObjectId, HauloutError]:
    """Let nodes vote for a version, each as the account that governs it.

    Args:
        nodes: the governing account's secret by node.
        epoch: the present one.

    Returns:
        What kept some of them from taking it.
    """
    chain_id = (await network.view.params()).chain_id

    async def tell(link: MemberLink, secret: bytes) -> HauloutError | None:
        message = messages.protocol_consent(
            epoch,
            chain_id=chain_id,
            node_id=link.node_id,
            version=version,
            start_epoch=start_epoch,
            signed_ms=network.clock.now_ms(),
        )
        consent = SignedMessage(message, ed25519.sign(secret, message))
        try:
            await link.api.agree_to_protocol(consent=consent, public_key=ed25519.public_key(secret))
        except HauloutError as e:
            return e
        return None

    links = await network.links_of(nodes)
    problems = await asyncio.gather(*(tell(link, nodes[link.node_id]) for link in links))
    return {link.node_id: problem for link, problem in zip(links, problems, strict=True) if problem is not None}


async def collect(
    network: Network, *, version: int, start_epoch: int, refused: Mapping[ObjectId, HauloutError] | None = None
) -> VoteCertificate:
    """The committee's votes as one signature; each is verified.

    Args:
        refused: why nodes have not taken what their owner agreed to, told instead of that it is lacking.

    Raises:
        WrongEpoch: an epoch began meanwhile.
        ProtocolVotesMissing: fewer than n - f of shard weight stand behind it.
    """
    epoch, members = await network.current_links()
    n_shards = sum(member.weight for member in members)
    message = messages.protocol_version(epoch, start_epoch=start_epoch, version=version)

    async def ask(member: MemberLink) -> SignedMessage:
        signed = await member.api.sign_protocol_vote(epoch=epoch, version=version, start_epoch=start_epoch)
        is_genuine = signed.message == message and await network.workers.run(
            network.scheme.verify, member.public_key, message, signed.signature
        )
        if not is_genuine:
            raise ForgedVote(node=member.name)
        return signed

    answers = await asyncio.gather(*map(ask, members), return_exceptions=True)
    signatures: dict[int, bytes] = {}
    problems: dict[str, HauloutError] = {}
    for index, answer in enumerate(answers):
        if isinstance(answer, SignedMessage):
            signatures[index] = answer.signature
        elif isinstance(answer, HauloutError):
            problems[members[index].name] = (refused or {}).get(members[index].node_id, answer)
        else:
            raise answer
    weight = sum(members[index].weight for index in signatures)
    if not is_quorum(weight, n_shards):
        await _raise_if_moved_on(network, epoch)
        raise ProtocolVotesMissing(
            protocol_version=version,
            start_epoch=start_epoch,
            weight=weight,
            needed=min_correct(n_shards),
            not_agreed=_text(name for name, e in problems.items() if e.code == NOT_AGREED),
            too_old=_text(name for name, e in problems.items() if _is_of_old_build(e)),
            others=_text(
                f"{name} ({unreachable_text(e)})"
                for name, e in problems.items()
                if e.code != NOT_AGREED and not _is_of_old_build(e)
            ),
        )
    signers = sorted(signatures)
    total = network.scheme.aggregate([signatures[index] for index in signers])
    missing = {name: problem.code for name, problem in sorted(problems.items())}
    return VoteCertificate(message, total, bitmap_of(signers), weight, missing)


async def activate(
    network: Network,
    ledger: Ledger,
    wallet: Wallet,
    owners: Sequence[bytes],
    *,
    version: int | None = None,
    start_epoch: int | None = None,
) -> Activation:
    """Have the next version of the rules begin with an epoch.

    Args:
        wallet: the account that sends the transaction; anyone's.
        owners: secrets of accounts; the nodes that they govern are let vote.
        version: the one that is meant; whichever is next when None.
        start_epoch: the first epoch under the new rules; the next one when None.

    Raises:
        ProtocolVersionUnknown: this build or the ledger's does not know them.
        InvalidProtocolVersion: the epoch has begun, or another version is next.
        WrongEpoch: an epoch began meanwhile.
        ProtocolVotesMissing: too few stand behind it; what was agreed to is kept.
    """
    standing = await fetch_standing(network, ledger)
    version = standing.next_version if version is None else version
    start = standing.epoch + 1 if start_epoch is None else start_epoch
    for process, newest in (("this command", PROTOCOL_VERSION), ("the ledger", standing.ledger_knows)):
        if newest < version:
            raise ProtocolVersionUnknown(process=process, protocol_version=version, newest=newest)
    if version != standing.next_version or start <= standing.epoch:
        raise InvalidProtocolVersion(
            protocol_version=version, from_epoch=start, current=standing.current, epoch=standing.epoch
        )
    if standing.chosen == (version, start):
        return Activation(version, start, 0, {})
    secrets: dict[bytes, bytes] = {ed25519.address_of(ed25519.public_key(secret)): secret for secret in owners}
    own = {node.node_id: secrets[node.governance] for node in standing.nodes if node.governance in secrets}
    refused = await agree(network, own, epoch=standing.epoch, version=version, start_epoch=start)
    votes = await collect(network, version=version, start_epoch=start, refused=refused)
    await wallet.execute([UpdateProtocolVersion(votes.message, votes.signature, votes.bitmap)])
    return Activation(version, start, votes.weight, votes.missing)


async def _raise_if_moved_on(network: Network, epoch: int) -> None:
    now = (await network.view.system()).epoch
    if now != epoch:
        raise WrongEpoch(request_epoch=epoch, server_epoch=now)


def _is_of_old_build(problem: HauloutError) -> bool:
    """It does not know the version, or not even how to vote."""
    return problem.code in (ProtocolVersionUnknown.code, UNKNOWN_CALL)


def _text(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
