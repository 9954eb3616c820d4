"""Genesis: the block of height 0 and the state that a genesis document means, and documents for development.

A network starts in epoch 1, phase Done: the committee is chosen by D'Hondt, prices and capacity are voted, the ring
begins at epoch 1, so a blob can be stored in the first block.

Proofs of possession in genesis are made for **epoch 0** and the node's governance account, since the chain id does not
exist before the document is complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from haulout import bcs
from haulout.crypto import ed25519, messages
from haulout.crypto.hashing import blake2b256
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import InvalidField
from haulout.ledger import keys
from haulout.ledger.apply import OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION, BlockOut, finish_block, number_events
from haulout.ledger.committee import ActiveSet, apportion, first_assignment, insert_active
from haulout.ledger.draft import Draft, EmptyView
from haulout.ledger.economy import Vote, choose_capacity, choose_price, network_capacity
from haulout.ledger.events import ActiveSetChanged, CommitteeMemberRecord, EpochDone, EpochStarted
from haulout.ledger.execution import Execution
from haulout.ledger.genesis_document import GENESIS_VERSION, GenesisAccount, GenesisNode
from haulout.ledger.genesis_document import Genesis as Genesis  # part of this module's interface
from haulout.ledger.staking import (
    check_possession,
    check_profile,
    check_stake_size,
    insert_node,
    node_registered,
    stake_changed,
)
from haulout.ledger.state import (
    STATE_VERSION,
    Committee,
    Member,
    Node,
    ObjectKind,
    Params,
    Phase,
    StakedWal,
    Staking,
    System,
)
from haulout.primitives import U32_MAX, U64_MAX, Address, ObjectId

FIRST_EPOCH: Final = 1
PROOF_EPOCH: Final = 0
MIN_SHARDS, MAX_SHARDS = 4, 1000
MAX_EPOCHS_AHEAD_LIMIT: Final = 1000
DEFAULT_MAX_EPOCHS_AHEAD: Final = 53
DEFAULT_MAX_BLOB_BYTES: Final = 16 << 30
DEFAULT_STORAGE_PRICE_FROST: Final = 100_000
DEFAULT_WRITE_PRICE_FROST: Final = 20_000
DEFAULT_COMMISSION_BPS: Final = 6_000
DEFAULT_NODE_CAPACITY_BYTES: Final = 250 << 40
DEFAULT_DRIVER_GRACE_MS: Final = 60_000
DEFAULT_HYSTERESIS_BPS: Final = 50


def build_genesis(genesis: Genesis, scheme: SignatureScheme) -> BlockOut:
    """The block of height 0 and the state it founds.

    Raises:
        InvalidField: a parameter out of range, an account twice, more FROST than 64 bits hold, another scheme.
        Rejected: a leaf of `refusals` for a node that could not be registered, or too few nodes for a committee.
    """
    check_parameters(genesis, scheme)
    draft = Draft(EmptyView())
    chain_id = genesis.chain_id
    params = Params(
        version=STATE_VERSION,
        chain_id=chain_id,
        n_shards=genesis.n_shards,
        epoch_duration_ms=genesis.epoch_duration_ms,
        max_epochs_ahead=genesis.max_epochs_ahead,
        max_blob_bytes=genesis.max_blob_bytes,
        genesis_time_ms=genesis.genesis_time_ms,
        manual_epochs=genesis.manual_epochs,
        driver_grace_ms=genesis.driver_grace_ms,
        allow_unsafe=genesis.allow_unsafe,
        hysteresis_bps=genesis.hysteresis_bps,
    )
    nothing = System(STATE_VERSION, FIRST_EPOCH, genesis.protocol_version, None, 0, 0, 0, 0, 0, 0)
    run = Execution(
        draft=draft,
        params=params,
        system=nothing,
        protocol_version=genesis.protocol_version,
        scheme=scheme,
        digest=chain_id,
        sender=bytes(32),
        height=0,
        time_ms=genesis.genesis_time_ms,
        first_sequence=0,
    )
    for account in genesis.accounts:
        run.credit(account.address, account.balance_frost)
    nodes = {run.new_object_id(): node for node in genesis.nodes}
    active: ActiveSet = ()
    for node_id, node in nodes.items():
        _found_node(run, node_id, node)
        active = insert_active(active, node_id, node.stake_frost)
        if run.protocol_version > 1:
            run.emit(ActiveSetChanged(node_id, node.stake_frost))
    committee = _choose_committee(genesis, nodes, active)
    system = _vote(genesis, nodes, committee)
    draft.put(keys.PARAMS, bcs.encode(params))
    run.put(keys.committee(FIRST_EPOCH), committee)
    run.put(keys.STAKING, Staking(STATE_VERSION, Phase.DONE, False, genesis.genesis_time_ms, 0, None, active))
    members = tuple(CommitteeMemberRecord(m.node_id, m.public_key, m.shards) for m in committee.members)
    run.emit(
        EpochStarted(
            FIRST_EPOCH,
            members,
            system.total_capacity_bytes,
            system.storage_price_frost,
            system.write_price_frost,
        )
    )
    run.emit(EpochDone(FIRST_EPOCH, False))
    run.announce_changes()
    system = replace(system, next_sequence=len(run.events))
    draft.put(keys.SYSTEM, bcs.encode(system))
    events = number_events(run.events, 0, 0, U32_MAX, genesis.genesis_time_ms)
    return finish_block(
        EmptyView(), draft, None, params, genesis.protocol_version, 0, genesis.genesis_time_ms, (), (), events
    )


def check_parameters(genesis: Genesis, scheme: SignatureScheme) -> None:
    """Refuse parameters out of range.

    Raises:
        InvalidField: with the first that is.
    """
    supply = _supply(genesis)
    addresses = [account.address for account in genesis.accounts]
    checks = [
        ("version", genesis.version == GENESIS_VERSION, f"{genesis.version} is unknown"),
        (
            "protocolVersion",
            OLDEST_PROTOCOL_VERSION <= genesis.protocol_version <= PROTOCOL_VERSION,
            "unknown to this build",
        ),
        ("scheme", genesis.scheme == scheme.name, f"{genesis.scheme!r}, but nodes sign with {scheme.name!r}"),
        ("nShards", MIN_SHARDS <= genesis.n_shards <= MAX_SHARDS, f"not {MIN_SHARDS} to {MAX_SHARDS}"),
        ("epochDurationMs", genesis.epoch_duration_ms > 0, "not positive"),
        (
            "maxEpochsAhead",
            0 < genesis.max_epochs_ahead <= MAX_EPOCHS_AHEAD_LIMIT,
            f"not 1 to {MAX_EPOCHS_AHEAD_LIMIT}",
        ),
        ("maxBlobBytes", genesis.max_blob_bytes > 0, "not positive"),
        ("accounts", len(set(addresses)) == len(addresses), "an address stands there twice"),
        ("accounts", supply <= U64_MAX, "all FROST together exceed 64 bits"),
    ]
    for field, holds, problem in checks:
        if not holds:
            raise InvalidField(field=f"genesis.{field}", problem=problem)


# --- a network for one machine ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NodeSecrets:
    """What a node of a development network needs to know."""

    name: str
    node_id: ObjectId
    addresses: tuple[str, ...]
    bls_secret: bytes
    capability_secret: bytes
    governance_secret: bytes


@dataclass(frozen=True, slots=True)
class DevelopmentNetwork:
    """A genesis and the secrets behind it: for `haulout up`, simulations and tests."""

    genesis: Genesis
    nodes: tuple[NodeSecrets, ...]
    account_secrets: Mapping[str, bytes]

    def address(self, account: str) -> Address:
        """The address of a named account."""
        return ed25519.address_of(ed25519.public_key(self.account_secrets[account]))


def build_development_network(
    *,
    node_addresses: Mapping[str, Sequence[str]],
    n_shards: int,
    stake_frost: int | Mapping[str, int],
    account_funds_frost: Mapping[str, int],
    genesis_time_ms: int,
    seed: bytes,
    scheme: SignatureScheme,
    epoch_duration_ms: int = 14 * 24 * 3600 * 1000,
    max_epochs_ahead: int = DEFAULT_MAX_EPOCHS_AHEAD,
    max_blob_bytes: int = DEFAULT_MAX_BLOB_BYTES,
    node_capacity_bytes: int = DEFAULT_NODE_CAPACITY_BYTES,
    storage_price_frost: int = DEFAULT_STORAGE_PRICE_FROST,
    write_price_frost: int = DEFAULT_WRITE_PRICE_FROST,
    manual_epochs: bool = False,
    driver_grace_ms: int = DEFAULT_DRIVER_GRACE_MS,
    hysteresis_bps: int = DEFAULT_HYSTERESIS_BPS,
    allow_unsafe: bool = False,
) -> DevelopmentNetwork:
    """Make all keys of a network from one seed, and its genesis.

    Args:
        node_addresses: addresses of each node by its name.
        stake_frost: of every node, or of each by name.
        account_funds_frost: free FROST of each account by a name that only the caller knows.
        seed: 32 bytes; random for a network that lives, fixed for a test.
    """

    def secret(role: str, name: str) -> bytes:
        return blake2b256(b"haulout/development/1" + bcs.encode((seed, role, name), tuple[bytes, str, str]))

    secrets: list[tuple[str, bytes, bytes, bytes]] = []
    genesis_nodes: list[GenesisNode] = []
    for name, addresses in node_addresses.items():
        bls, capability, governance = (
            scheme.generate(secret("bls", name)),
            secret("capability", name),
            secret("governance", name),
        )
        public_key = scheme.public_key(bls)
        governor = ed25519.address_of(ed25519.public_key(governance))
        proof = scheme.sign(bls, messages.proof_of_possession(PROOF_EPOCH, governor, public_key))
        secrets.append((name, bls, capability, governance))
        genesis_nodes.append(
            GenesisNode(
                name=name,
                addresses=tuple(addresses),
                public_key=public_key,
                network_public_key=b"",
                proof_of_possession=proof,
                governance=governor,
                capability=ed25519.address_of(ed25519.public_key(capability)),
                commission_rate_bps=DEFAULT_COMMISSION_BPS,
                storage_price_frost=storage_price_frost,
                write_price_frost=write_price_frost,
                node_capacity_bytes=node_capacity_bytes,
                stake_frost=stake_frost if isinstance(stake_frost, int) else stake_frost[name],
            )
        )
    account_secrets = {name: secret("account", name) for name in account_funds_frost}
    genesis = Genesis(
        version=GENESIS_VERSION,
        random=secret("random", ""),
        protocol_version=PROTOCOL_VERSION,
        scheme=scheme.name,
        genesis_time_ms=genesis_time_ms,
        n_shards=n_shards,
        epoch_duration_ms=epoch_duration_ms,
        max_epochs_ahead=max_epochs_ahead,
        max_blob_bytes=max_blob_bytes,
        manual_epochs=manual_epochs,
        driver_grace_ms=driver_grace_ms,
        allow_unsafe=allow_unsafe,
        hysteresis_bps=hysteresis_bps,
        accounts=tuple(
            GenesisAccount(ed25519.address_of(ed25519.public_key(account_secrets[name])), funds)
            for name, funds in account_funds_frost.items()
        ),
        nodes=tuple(genesis_nodes),
    )
    return DevelopmentNetwork(
        genesis=genesis,
        nodes=tuple(
            NodeSecrets(name, genesis.node_id(i), tuple(node_addresses[name]), bls, capability, governance)
            for i, (name, bls, capability, governance) in enumerate(secrets)
        ),
        account_secrets=account_secrets,
    )


# --- steps of founding --------------------------------------------------------------------------------------


def _supply(genesis: Genesis) -> int:
    return sum(a.balance_frost for a in genesis.accounts) + sum(node.stake_frost for node in genesis.nodes)


def _found_node(run: Execution, node_id: bytes, entry: GenesisNode) -> None:
    """Register a node whose stake is active from the first epoch on."""
    check_profile(
        run.draft,
        run.scheme,
        name=entry.name,
        addresses=entry.addresses,
        public_key=entry.public_key,
        network_public_key=entry.network_public_key,
        commission_rate_bps=entry.commission_rate_bps,
    )
    check_possession(
        run.scheme,
        epoch=PROOF_EPOCH,
        sender=entry.governance,
        public_key=entry.public_key,
        proof_of_possession=entry.proof_of_possession,
    )
    check_stake_size(entry.stake_frost)
    node = Node(
        version=STATE_VERSION,
        name=entry.name,
        addresses=entry.addresses,
        public_key=entry.public_key,
        next_public_key=None,
        network_public_key=entry.network_public_key,
        governance=entry.governance,
        capability=entry.capability,
        registered_epoch=FIRST_EPOCH,
        activation_epoch=FIRST_EPOCH,
        leaving=False,
        last_sync_done_epoch=FIRST_EPOCH,
        storage_price_frost=entry.storage_price_frost,
        write_price_frost=entry.write_price_frost,
        node_capacity_bytes=entry.node_capacity_bytes,
        commission_rate_bps=entry.commission_rate_bps,
        commission_frost=0,
        commission_blocked_frost=0,
        balance_frost=entry.stake_frost,
        n_shares=entry.stake_frost,
        rewards_frost=0,
        pending_stake={},
    )
    insert_node(run, node_id, node)
    run.touched_pools[node_id] = None
    run.emit(node_registered(node_id, node))
    staked = StakedWal(STATE_VERSION, entry.governance, node_id, entry.stake_frost, FIRST_EPOCH, None)
    object_id = run.new_object_id()
    run.insert(ObjectKind.STAKED_WAL, object_id, staked)
    run.emit(stake_changed(run, object_id, staked))


def _choose_committee(genesis: Genesis, nodes: Mapping[ObjectId, GenesisNode], active: ActiveSet) -> Committee:
    counts = apportion([stake for _, stake in active], genesis.n_shards, allow_unsafe=genesis.allow_unsafe)
    assignment = first_assignment({node_id: count for (node_id, _), count in zip(active, counts, strict=True)})
    members = tuple(
        Member(node_id, nodes[ObjectId(node_id)].public_key, shards) for node_id, shards in assignment.items()
    )
    return Committee(STATE_VERSION, FIRST_EPOCH, members)


def _vote(genesis: Genesis, nodes: Mapping[ObjectId, GenesisNode], committee: Committee) -> System:
    n = genesis.n_shards
    members = [(nodes[ObjectId(m.node_id)], m.weight) for m in committee.members]
    supply = _supply(genesis)
    return System(
        version=STATE_VERSION,
        epoch=FIRST_EPOCH,
        protocol_version=genesis.protocol_version,
        next_protocol=None,
        total_capacity_bytes=choose_capacity(
            [Vote(network_capacity(node.node_capacity_bytes, weight, n), weight) for node, weight in members], n
        ),
        storage_price_frost=choose_price([Vote(node.storage_price_frost, weight) for node, weight in members], n),
        write_price_frost=choose_price([Vote(node.write_price_frost, weight) for node, weight in members], n),
        supply_frost=supply,
        burned_frost=0,
        next_sequence=0,
    )
