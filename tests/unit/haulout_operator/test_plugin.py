"""What the plug-in says, from objects as kubectl gives them."""

from __future__ import annotations

from haulout_operator.plugin import describe_network, describe_troubles


def condition(type_: str, status: str, reason: str = "Why", message: str = "") -> dict[str, str]:
    return {"type": type_, "status": status, "reason": reason, "message": message}


def test_only_what_is_not_as_it_should_be_is_a_trouble() -> None:
    conditions = [
        condition("Ready", "True"),
        condition("Degraded", "False"),
        condition("TransportSecure", "False"),
        condition("ScalingBlocked", "True", "BelowMinNodes", "Smallest safe size is 4."),
        condition("Registered", "Unknown", "LedgerUnreachable"),
    ]
    assert describe_troubles({"status": {"conditions": conditions}}) == [
        "ScalingBlocked=True BelowMinNodes: Smallest safe size is 4.",
        "Registered=Unknown LedgerUnreachable",
    ]


def test_a_network_is_told_in_a_few_lines() -> None:
    body = {
        "metadata": {"name": "main"},
        "status": {
            "chainId": "0xab",
            "epoch": {"number": 3, "phase": "Done", "endsAt": "2026-01-01T00:00:00Z"},
            "shards": {"total": 100, "available": 75, "moving": 0},
            "faultBudget": {"limit": 33, "used": 25, "remaining": 8},
        },
    }
    node = {
        "metadata": {"name": "main-abcd"},
        "status": {"phase": "Provisioning", "stake": "2,000 WAL", "conditions": [condition("Ready", "False", "Down")]},
    }
    assert describe_network(body, [node]) == [
        "network  main, chain 0xab",
        "epoch    3, phase Done, ends 2026-01-01T00:00:00Z",
        "shards   75 of 100 available, 0 moving",
        "budget   8 of 33 shards may be unavailable",
        "node     main-abcd: Provisioning, 0 shards, 2,000 WAL",
        "         Ready=False Down",
    ]


def test_a_network_that_is_not_founded_is_told_too() -> None:
    assert describe_network({"metadata": {"name": "main"}}, [])[0] == "network  main, chain not founded"
