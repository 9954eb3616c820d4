"""Genesis: the document, the state it founds, and what makes it refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from haulout.chain.verify import check_genesis_header
from haulout.crypto.bls import Bls12381
from haulout.crypto.keyed_hash import KeyedHash
from haulout.errors import HauloutError, InvalidField
from haulout.ledger import invariants, queries
from haulout.ledger.draft import Draft, EmptyView
from haulout.ledger.events import EpochDone, EpochStarted
from haulout.ledger.genesis import DevelopmentNetwork, build_development_network, build_genesis
from haulout.ledger.genesis_document import Genesis
from haulout.ledger.state import Phase

WAL = 10**9


def founded(genesis: Genesis) -> Draft:
    state = Draft(EmptyView())
    state.absorb(build_genesis(genesis, KeyedHash()).writes)
    return state


def small(**changes: Any) -> DevelopmentNetwork:
    arguments: dict[str, Any] = {
        "node_addresses": {f"n{i}": ("h:1",) for i in range(4)},
        "n_shards": 100,
        "stake_frost": {"n0": 97 * WAL, "n1": WAL, "n2": WAL, "n3": WAL},
        "account_funds_frost": {"a": 5},
        "genesis_time_ms": 7,
        "seed": b"s" * 32,
        "scheme": KeyedHash(),
        **changes,
    }
    return build_development_network(**arguments)


def test_a_network_starts_in_epoch_1_done_with_prices_capacity_and_a_committee(network: DevelopmentNetwork) -> None:
    state = founded(network.genesis)
    system, staking = queries.system(state), queries.staking(state)
    assert (system.epoch, staking.phase, staking.previous_epoch) == (1, Phase.DONE, None)
    assert (system.storage_price_frost, system.write_price_frost) == (100_000, 20_000)
    assert system.total_capacity_bytes == 5 << 30
    assert system.supply_frost == 5 * 2000 * WAL + 2000 * WAL + 10
    assert [member.weight for member in queries.committee(state).members] == [2] * 5
    assert queries.params(state).chain_id == network.genesis.chain_id
    for secrets in network.nodes:
        node = queries.node(state, secrets.node_id)
        assert node is not None and node.name == secrets.name
        assert node.public_key == KeyedHash().public_key(secrets.bls_secret)
    assert queries.balance(state, network.address("alice")) == 1000 * WAL
    invariants.check(state)


def test_block_0_has_a_header_and_says_what_began(network: DevelopmentNetwork) -> None:
    out = build_genesis(network.genesis, KeyedHash())
    check_genesis_header(out.header, network.genesis.chain_id)
    assert (out.header.time_ms, out.transactions, out.results) == (1_000_000, (), ())
    started = [event.body for event in out.events if isinstance(event.body, EpochStarted)]
    assert len(started) == 1 and started[0].epoch == 1
    assert EpochDone(1, False) in [event.body for event in out.events]
    assert build_genesis(network.genesis, KeyedHash()) == out


def test_the_cap_keeps_a_rich_node_below_f(network: DevelopmentNetwork) -> None:
    unequal = small()
    weights = {m.node_id: m.weight for m in queries.committee(founded(unequal.genesis)).members}
    assert [weights[node.node_id] for node in unequal.nodes] == [33, 23, 22, 22]


def test_too_few_nodes_found_a_network_only_where_that_is_allowed() -> None:
    three: dict[str, Any] = {"node_addresses": {f"n{i}": ("h:1",) for i in range(3)}, "stake_frost": WAL}
    with pytest.raises(HauloutError) as caught:
        founded(small(**three).genesis)
    assert caught.value.code == "COMMITTEE_TOO_SMALL"
    committee = queries.committee(founded(small(**three, allow_unsafe=True).genesis))
    assert sorted(member.weight for member in committee.members) == [33, 33, 34]


def test_the_document_survives_json(network: DevelopmentNetwork) -> None:
    text = network.genesis.to_json()
    assert Genesis.from_json(text) == network.genesis
    document = json.loads(text)
    assert document["chainId"] == "0x" + network.genesis.chain_id.hex()
    assert document["nodes"][0]["addresses"] == ["127.0.0.1:7000"]
    assert document["nShards"] == 10


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"chainId": "0x" + "00" * 32}, "genesis.chainId"),
        ({"chainId": None}, "genesis.chainId"),
        ({"maxEpochsAhead": 7}, "genesis.chainId"),
        ({"nShards": "10"}, "genesis.nShards"),
        ({"nShards": True}, "genesis.nShards"),
        ({"nShards": 70_000}, "genesis"),
        ({"random": "00"}, "genesis.random"),
        ({"random": "0xzz"}, "genesis.random"),
        ({"random": "0x00"}, "genesis"),
        ({"accounts": {}}, "genesis.accounts"),
        ({"accounts": [1]}, "genesis.accounts[0]"),
        ({"nodes": [{"name": "x"}]}, "genesis.nodes[0].addresses"),
        ({"surprise": 1}, "genesis.surprise"),
        ({"allowUnsafe": 1}, "genesis.allowUnsafe"),
    ],
)
def test_refuses_documents_and_names_the_field(network: DevelopmentNetwork, change: dict[str, Any], field: str) -> None:
    document = json.loads(network.genesis.to_json()) | change
    with pytest.raises(InvalidField) as caught:
        Genesis.from_json(json.dumps(document))
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_refuses_what_is_no_document(text: str) -> None:
    with pytest.raises(InvalidField):
        Genesis.from_json(text)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"n_shards": 3}, "MALFORMED_REQUEST"),
        ({"n_shards": 1001}, "MALFORMED_REQUEST"),
        ({"max_epochs_ahead": 0}, "MALFORMED_REQUEST"),
        ({"max_epochs_ahead": 1001}, "MALFORMED_REQUEST"),
        ({"epoch_duration_ms": 0}, "MALFORMED_REQUEST"),
        ({"protocol_version": 9}, "MALFORMED_REQUEST"),
        ({"scheme": "bls12381-min-pk"}, "MALFORMED_REQUEST"),
        ({"version": 2}, "MALFORMED_REQUEST"),
        ({"nodes": ()}, "NO_STAKE"),
    ],
)
def test_refuses_to_found_with_impossible_parameters(
    network: DevelopmentNetwork, change: dict[str, Any], code: str
) -> None:
    with pytest.raises(HauloutError) as caught:
        build_genesis(replace(network.genesis, **change), KeyedHash())
    assert caught.value.code == code


def test_refuses_to_found_with_impossible_people(network: DevelopmentNetwork) -> None:
    genesis = network.genesis
    account, node = genesis.accounts[0], genesis.nodes[0]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"accounts": (account, account)}, "MALFORMED_REQUEST"),
        ({"accounts": (replace(account, balance_frost=2**64 - 1),)}, "MALFORMED_REQUEST"),
        ({"nodes": (*genesis.nodes, node)}, "NAME_TAKEN"),
        ({"nodes": (*genesis.nodes, replace(node, name="other"))}, "KEY_TAKEN"),
        ({"nodes": (replace(node, governance=bytes(32)),)}, "INVALID_PROOF_OF_POSSESSION"),
        ({"nodes": (replace(node, stake_frost=5),)}, "STAKE_BELOW_THRESHOLD"),
    ]
    for change, code in cases:
        with pytest.raises(HauloutError) as caught:
            build_genesis(replace(genesis, **change), KeyedHash())
        assert caught.value.code == code


def test_another_random_field_is_another_network(network: DevelopmentNetwork) -> None:
    other = replace(network.genesis, random=b"x" * 32)
    assert other.chain_id != network.genesis.chain_id
    assert other.node_id(0) != network.genesis.node_id(0)


def test_the_real_scheme_founds_a_network_too() -> None:
    real = small(scheme=Bls12381())
    state = Draft(EmptyView())
    state.absorb(build_genesis(real.genesis, Bls12381()).writes)
    invariants.check(state)
