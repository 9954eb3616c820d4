"""Nodes as they say they are: asked once for many readers, and never waited for."""

from __future__ import annotations

from typing import Any

import pytest

from graphql_api.health import Checkup, HealthBoard
from graphql_api.nodes import NodePhase, node_phase
from haulout.ports import NodeHealth
from haulout.primitives import Digest, ObjectId

NODES = """{ storageNodes(orderBy: {field: NAME, direction: ASC}) { nodes {
  name phase weight eventLag usedBytes version
  health { nodeStatus height epoch protocolVersion shardsOwned shardsGaining } } } }"""


def healthy(**changes: Any) -> NodeHealth:
    values: dict[str, Any] = {
        "node_id": ObjectId(bytes(32)),
        "name": "node",
        "epoch": 1,
        "status": "Active",
        "uptime_ms": 5_000,
        "height": 3,
        "block_digest": Digest(bytes(32)),
        "head_height": 3,
        "shards": (0, 1, 2),
        "incomplete_blobs": 0,
        "corrupt_slivers": 0,
        "stored_slivers": 7,
        "stored_bytes": 700,
    }
    return NodeHealth(**{**values, **changes})


async def test_shows_nodes_that_answer_and_those_that_do_not(net: Any) -> None:
    tells = healthy(release="0.2.0", protocol_version=3)
    net.nodes.answers = {"127.0.0.1:31425": tells, "127.0.0.1:31427": healthy(incomplete_blobs=2)}
    nodes = (await net.ask(NODES))["storageNodes"]["nodes"]
    assert [(node["name"], node["phase"], node["usedBytes"], node["eventLag"]) for node in nodes] == [
        ("node-0", "ACTIVE", "700", "2"),  # the read model is at block 5
        ("node-1", "UNREACHABLE", None, None),
        ("node-2", "RECOVERING", "700", "2"),
        ("node-3", "UNREACHABLE", None, None),
    ]
    assert nodes[0]["health"] == {
        "nodeStatus": "Active",
        "height": "3",
        "epoch": 1,
        "protocolVersion": 3,
        "shardsOwned": 3,
        "shardsGaining": 0,
    }
    assert nodes[1]["health"] is None
    assert [node["version"] for node in nodes] == ["0.2.0", None, None, None]
    assert nodes[2]["health"]["protocolVersion"] is None
    assert net.nodes.n_calls == 4  # three fields each asked, one call per node
    await net.ask(NODES)
    assert net.nodes.n_calls == 4  # fresh for two seconds


@pytest.mark.parametrize(
    ("changes", "activation_epoch", "expected"),
    [
        ({}, 1, NodePhase.ACTIVE),
        ({"status": "Standby", "shards": ()}, 1, NodePhase.STANDBY),
        ({"status": "Standby", "shards": ()}, 2, NodePhase.PENDING),
        ({"status": "Diverged at block 9"}, 1, NodePhase.FAILED),
        ({"status": "StorageFailed"}, 1, NodePhase.FAILED),
        ({"head_height": 1_000}, 1, NodePhase.CATCHING_UP),
        ({"incomplete_blobs": 1}, 1, NodePhase.RECOVERING),
    ],
)
def test_a_phase_follows_from_what_the_node_says(changes: Any, activation_epoch: int, expected: NodePhase) -> None:
    checkup = Checkup(healthy(**changes), 0)
    assert node_phase(checkup, activation_epoch=activation_epoch, epoch=1) is expected


async def test_remembers_a_bounded_number_of_nodes(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphql_api.health.REMEMBERED_MAX", 3)

    class Clock:
        def now_ms(self) -> int:
            return 0

    board = HealthBoard(net.nodes, Clock())  # type: ignore[arg-type]
    for i in range(10):
        assert (await board.check(f"10.0.0.{i}:1")).health is None
    assert len(board._known) == 3
    await board.close()
