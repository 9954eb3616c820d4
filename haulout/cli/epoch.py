"""`haulout epoch`: the next one now, and who would own what after it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from haulout.cli.options import DIR_OPTION, JSON_OPTION
from haulout.cli.output import bytes_text, print_json

if TYPE_CHECKING:
    from haulout.cli.session import Session
    from haulout.embedded.epoch_watch import EpochStatus
    from haulout.ledger.plan import CommitteePlan

SYNC_PATIENCE_S = 60
LOOK_AGAIN_MS = 250

epoch_app = typer.Typer(help="Epochs: when committees change and shards move.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    epoch_app.command("advance")(advance)
    epoch_app.command("plan")(plan)
    app.add_typer(epoch_app, name="epoch")


def advance(
    wait: bool = typer.Option(True, "--wait/--no-wait", help="Wait until the new owners have their shards."),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Start the next epoch now, on a network whose epochs are advanced by hand."""
    from haulout.cli.session import run_session
    from haulout.embedded.epoch_watch import fetch_epoch_status
    from haulout.ledger.commands import AdvanceEpoch
    from haulout.ledger.state import Phase

    async def work(session: Session) -> EpochStatus:
        view, clock = session.network.view, session.network.clock
        result = await session.wallet.execute([AdvanceEpoch((await view.system()).epoch)])
        await view.reach(result.height)
        deadline_us = clock.monotonic_us() + SYNC_PATIENCE_S * 1_000_000
        status = await fetch_epoch_status(view)
        while wait and (status.phase is Phase.SYNC or status.n_moving) and clock.monotonic_us() < deadline_us:
            await clock.sleep_ms(LOOK_AGAIN_MS)
            status = await fetch_epoch_status(view)
        return status

    status = run_session(directory, work)
    phase = status.phase.name.capitalize()
    if as_json:
        print_json({"epoch": status.epoch, "phase": phase, "movingShards": status.n_moving})
    elif status.n_moving:
        _say(f"epoch {status.epoch} ({phase}): {status.n_moving} shards on the way to {', '.join(status.syncing)}")
    else:
        _say(f"epoch {status.epoch} ({phase}): every shard is where it belongs")


def plan(
    stake: list[str] = typer.Option([], help="NODE=+500WAL or NODE=-500WAL: as if its stake were another; repeatable."),
    leave: list[str] = typer.Option([], help="As if this node left; repeatable."),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Show who would own what after the next change, what would move, and whether it is safe."""
    from haulout.cli.session import find_node, run_session
    from haulout.ledger.plan import plan_next_committee

    changes = [_parse_change(text) for text in stake]

    async def work(session: Session) -> tuple[CommitteePlan, dict[bytes, str]]:
        view = session.network.view
        state = await view.plan_state()
        leaving = [await find_node(session, name) for name in leave]
        stakes: dict[bytes, int] = {}
        for name, change in changes:
            node_id = await find_node(session, name)
            stakes[node_id] = stakes.get(node_id, 0) + change
        await _check_open(session, stakes)
        planned = plan_next_committee(state, leaving=leaving, stake_changes=stakes)
        nodes = await view.nodes(list({*planned.assignment, *planned.before}))
        return planned, {node_id: node.name for node_id, node in nodes.items()}

    planned, names = run_session(directory, work)
    document = plan_document(planned, names)
    if as_json:
        print_json(document)
        return
    sys.stdout.write("\n".join(plan_lines(document)) + "\n")


async def _check_open(session: Session, stakes: dict[bytes, int]) -> None:
    """Refuse stake that the ledger would refuse: on nodes that are leaving."""
    from haulout.ledger.refusals import PoolIsNotActive
    from haulout.primitives import hex_id_text

    for node_id, node in (await session.network.view.nodes(list(stakes))).items():
        if node.leaving and stakes[node_id] > 0:
            raise PoolIsNotActive(node_id=hex_id_text(node_id))


def plan_document(planned: CommitteePlan, names: dict[bytes, str]) -> dict[str, Any]:
    """A plan in JSON: members with their shards before and then, moves, and why nothing changes if that is so."""
    from haulout.client.documents import kept_because
    from haulout.primitives import hex_id_text

    stakes = dict(planned.active_set)
    members = [
        {
            "name": names.get(node_id, ""),
            "nodeId": hex_id_text(node_id),
            "stake": stakes.get(node_id, 0),
            "shards": len(planned.before.get(node_id, ())),
            "nextShards": len(planned.assignment.get(node_id, ())),
        }
        for node_id in sorted({*planned.assignment, *planned.before}, key=lambda node_id: names.get(node_id, ""))
    ]
    return {
        "epoch": planned.epoch,
        "members": members,
        "movedShards": len(planned.moves),
        "movedBytesMax": planned.moved_bytes,
        "isPossible": planned.is_possible,
        "problem": kept_because(planned),
    }


def plan_lines(document: dict[str, Any]) -> list[str]:
    """A plan for people."""
    from haulout.primitives import frost_text

    lines = [f"epoch {document['epoch']}"]
    for member in document["members"]:
        change = member["nextShards"] - member["shards"]
        moved = f" ({change:+d})" if change else ""
        stake = frost_text(member["stake"])
        lines.append(f"  {member['name']:<12} {member['nextShards']:>4} shards{moved:<7} {stake} staked")
    lines.append(f"{document['movedShards']} shards move, at most {bytes_text(document['movedBytesMax'])}")
    if document["problem"] is not None:
        lines.append(f"the committee stays as it is: {document['problem']['message']}")
    return lines


def _parse_change(text: str) -> tuple[str, int]:
    from haulout.errors import InvalidField
    from haulout.primitives import parse_frost

    name, separator, amount = text.rpartition("=")
    if not separator or not name or amount[:1] not in ("+", "-"):
        raise InvalidField(field="stake", problem=f"{text[:60]!r} is not NODE=+AMOUNT or NODE=-AMOUNT")
    change = parse_frost(amount[1:], field="stake")
    return name, -change if amount[0] == "-" else change


def _say(text: str) -> None:
    sys.stderr.write(f"haulout: {text}\n")
