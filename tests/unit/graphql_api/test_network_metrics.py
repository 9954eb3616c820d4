"""What Prometheus gets of the network as a whole."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from graphql_api.holdings import HoldingsBoard, NodeReport
from graphql_api.network_metrics import NetworkCollector
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger import queries
from haulout.ledger.commands import Existing, RequestWithdraw
from haulout.ledger.genesis import build_development_network
from haulout.ledger.sandbox import Sandbox
from haulout.ledger.state import ObjectKind


def test_a_committee_that_stays_is_told_with_its_reason() -> None:
    """Of ten shards a node holds at most three, so it takes four nodes with stake."""
    town = build_development_network(
        node_addresses={f"node-{i}": (f"127.0.0.1:{7000 + i}",) for i in range(4)},
        n_shards=10,
        stake_frost=2000 * 10**9,
        account_funds_frost={},
        genesis_time_ms=1_000_000,
        seed=bytes(32),
        scheme=KeyedHash(),
        manual_epochs=True,
    )
    world, registry = Sandbox(town, KeyedHash()), CollectorRegistry()
    nobody_is_asked = None
    board = HoldingsBoard(nobody_is_asked, 10, CollectorRegistry())
    NetworkCollector(lambda: world.state, board, registry)

    def kept(reason: str) -> float | None:
        return registry.get_sample_value("haulout_committee_kept", {"reason": reason})

    assert (kept("committee_too_small"), kept("no_stake")) == (0, 0)
    [stake] = queries.owned_ids(world.state, town.genesis.nodes[0].governance, ObjectKind.STAKED_WAL)
    assert world.run_with(world.nodes[0].governance_secret, RequestWithdraw(Existing(stake))).is_ok
    assert (kept("committee_too_small"), kept("no_stake")) == (1, 0)
    assert registry.get_sample_value("haulout_committee_nodes_to_lose_read") is None, "nobody was asked"
    members = queries.committee(world.state).members

    def to_lose(*silent: int) -> tuple[float | None, float | None]:
        board._reports = {m.node_id: NodeReport(i not in silent, {}, None, 1) for i, m in enumerate(members)}
        read = registry.get_sample_value("haulout_committee_nodes_to_lose_read")
        return (read, registry.get_sample_value("haulout_committee_nodes_to_lose_write_quorum"))

    assert sorted(member.weight for member in members) == [2, 2, 3, 3]
    assert to_lose() == (2, 1)
    assert to_lose(0) == (1, 0)
    assert to_lose(0, 1, 2) == (0, 0)
