"""The genesis document of a network in a cluster: its first pool's nodes, governed and staked by the treasury."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from haulout import errors
from haulout.crypto.schemes import SignatureScheme
from haulout.ledger.apply import PROTOCOL_VERSION
from haulout.ledger.genesis import (
    DEFAULT_COMMISSION_BPS,
    DEFAULT_HYSTERESIS_BPS,
    DEFAULT_MAX_BLOB_BYTES,
    DEFAULT_STORAGE_PRICE_FROST,
    DEFAULT_WRITE_PRICE_FROST,
    PROOF_EPOCH,
    Genesis,
    build_genesis,
)
from haulout.ledger.genesis_document import GENESIS_VERSION, GenesisAccount, GenesisNode
from haulout.primitives import Address, parse_frost
from haulout_operator.identity import NodeKeys
from haulout_operator.models.network import StorageNetworkSpec
from haulout_operator.names import node_address
from haulout_operator.quantities import parse_bytes, parse_duration_ms


@dataclass(frozen=True, slots=True)
class FirstNode:
    """A node that stands in genesis."""

    keys: NodeKeys
    stake_frost: int
    capacity_bytes: int


@dataclass(frozen=True, slots=True)
class FirstAccounts:
    """Accounts that stand in genesis."""

    treasury: Address
    gateway: Address
    graphql: Address


def build_network_genesis(
    spec: StorageNetworkSpec,
    nodes: Sequence[FirstNode],
    accounts: FirstAccounts,
    *,
    namespace: str,
    random: bytes,
    now_ms: int,
    scheme: SignatureScheme,
) -> Genesis:
    """The document, checked by founding a ledger from it in memory.

    Raises:
        InvalidInput, Rejected: no ledger can be founded from it, under the ledger's own code.
    """
    treasury = accounts.treasury
    funds = {
        treasury: parse_frost(spec.funds.treasury, field="funds.treasury"),
        accounts.gateway: parse_frost(spec.funds.gateway, field="funds.gateway"),
        accounts.graphql: parse_frost(spec.funds.graphql, field="funds.graphql"),
    }
    genesis = Genesis(
        version=GENESIS_VERSION,
        random=random,
        protocol_version=PROTOCOL_VERSION,
        scheme=scheme.name,
        genesis_time_ms=now_ms,
        n_shards=spec.shards,
        epoch_duration_ms=parse_duration_ms(spec.epoch.duration),
        max_epochs_ahead=spec.epoch.max_epochs_ahead,
        max_blob_bytes=DEFAULT_MAX_BLOB_BYTES,
        manual_epochs=spec.epoch.manual,
        driver_grace_ms=parse_duration_ms(spec.epoch.driver_grace),
        allow_unsafe=False,
        hysteresis_bps=DEFAULT_HYSTERESIS_BPS,
        accounts=tuple(GenesisAccount(address, balance) for address, balance in funds.items()),
        nodes=tuple(_node(node, treasury, namespace, scheme) for node in nodes),
    )
    build_genesis(genesis, scheme)
    return genesis


def _node(node: FirstNode, treasury: Address, namespace: str, scheme: SignatureScheme) -> GenesisNode:
    keys = node.keys
    return GenesisNode(
        name=keys.name,
        addresses=(node_address(keys.name, namespace),),
        public_key=scheme.public_key(keys.bls_secret),
        network_public_key=b"",
        proof_of_possession=keys.prove_possession(scheme, epoch=PROOF_EPOCH, governance=treasury),
        governance=treasury,
        capability=keys.capability,
        commission_rate_bps=DEFAULT_COMMISSION_BPS,
        storage_price_frost=DEFAULT_STORAGE_PRICE_FROST,
        write_price_frost=DEFAULT_WRITE_PRICE_FROST,
        node_capacity_bytes=node.capacity_bytes,
        stake_frost=node.stake_frost,
    )


def stake_of(text: str) -> int:
    """FROST of `template.stake`."""
    return parse_frost(text, field="template.stake")


def capacity_of(size: str) -> int:
    """The capacity that a node votes: the size of its volume."""
    return parse_bytes(size)


def problem_of(error: errors.HauloutError) -> str:
    """An error as a condition's message says it."""
    return f"{error.code}: {error}"
