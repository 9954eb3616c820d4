"""`kubectl haulout plan`: the next committee by the ledger's own rule, and the fault budget to do it with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from haulout.client.view import LedgerView, ProvenSource
from haulout.ledger.plan import plan_next_committee
from haulout.ports import Ledger
from haulout.primitives import ObjectId, parse_object_id


async def describe_plan(ledger: Ledger, chain_id: str, leaving: Sequence[str]) -> list[str]:
    """Lines about who would own how many shards next.

    Args:
        ledger: of the network.
        chain_id: as the network's status has it.
        leaving: names of nodes that are imagined to leave.

    Raises:
        HauloutError: the ledger does not answer, or answers for another chain.
    """
    view = LedgerView(ProvenSource(ledger, parse_object_id(chain_id, field="chain_id")))
    ids = [await view.node_id_of_name(name) for name in leaving]
    gone = [node_id for node_id in ids if node_id is not None]
    planned = plan_next_committee(await view.plan_state(), leaving=gone)
    held = {ObjectId(node_id): len(shards) for node_id, shards in planned.before.items()}
    after = {ObjectId(node_id): len(shards) for node_id, shards in planned.assignment.items()}
    nodes = await view.nodes(list({*held, *after}))
    lines = [f"epoch    {planned.epoch}"]
    for node_id, node in sorted(nodes.items(), key=lambda one: one[1].name):
        now, then = held.get(node_id, 0), after.get(node_id, 0)
        change = f" ({then - now:+d})" if then != now else ""
        lines.append(f"node     {node.name}: {then} shards{change}{', leaves' if node.leaving else ''}")
    lines.append(f"moves    {len(planned.moves)} shards")
    if planned.kept_because is not None:
        lines.append(f"kept     the committee stays as it is: {planned.kept_because}")
    unknown = [name for name, node_id in zip(leaving, ids, strict=True) if node_id is None]
    return [*lines, *(f"unknown  the ledger knows no node called {name}" for name in unknown)]


def budget_lines(body: dict[str, Any]) -> list[str]:
    """The fault budget as the network's status has it."""
    budget = (body.get("status") or {}).get("faultBudget") or {}
    return [f"budget   {budget.get('remaining', 0)} of {budget.get('limit', 0)} shards may be unavailable now"]
