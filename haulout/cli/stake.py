"""`haulout stake`, `list-staked-wal`, `request-withdraw-stake`, `withdraw-stake`: your stake and its way back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from haulout.cli.options import DIR_OPTION, JSON_OPTION
from haulout.cli.output import print_json

if TYPE_CHECKING:
    from haulout.cli.session import Session
    from haulout.ledger.state import StakedWal
    from haulout.primitives import ObjectId

OBJECT_OPTION = typer.Option(..., "--object-id", help="The stake, as `list-staked-wal` shows it.")


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("stake")(stake)
    app.command("list-staked-wal")(list_staked_wal)
    app.command("request-withdraw-stake")(request_withdraw_stake)
    app.command("withdraw-stake")(withdraw_stake)


def stake(
    node_id: str = typer.Option(..., "--node-id", help="Id of the storage node, or its name."),
    amount: str = typer.Option(..., help="How much: 2000WAL, or FROST as a bare integer."),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Stake with a storage node: it gets more shards, and you a part of its rewards."""
    from haulout.cli.session import find_node, run_session
    from haulout.ledger.commands import Stake
    from haulout.primitives import ObjectId, hex_id_text, parse_frost

    amount_frost = parse_frost(amount)

    async def work(session: Session) -> tuple[ObjectId, StakedWal | None]:
        node = await find_node(session, node_id)
        result = await session.wallet.execute([Stake(node, amount_frost)])
        object_id = ObjectId(result.created[0][0])
        await session.network.view.reach(result.height)
        stakes = dict(await session.network.view.owned_stakes(session.wallet.address))
        return object_id, stakes.get(object_id)

    object_id, staked = run_session(directory, work)
    if as_json:
        print_json({"objectId": hex_id_text(object_id)} if staked is None else stake_document(object_id, staked))
    else:
        since = "" if staked is None else f"; it counts from epoch {staked.activation_epoch} on"
        _say(f"staked as {hex_id_text(object_id)}{since}")


def list_staked_wal(directory: Path | None = DIR_OPTION, as_json: bool = JSON_OPTION) -> None:
    """List your stakes."""
    from haulout.cli.session import run_session
    from haulout.primitives import frost_text, hex_id_text

    async def work(session: Session) -> tuple[list[tuple[ObjectId, StakedWal]], dict[ObjectId, str]]:
        stakes = await session.network.view.owned_stakes(session.wallet.address)
        nodes = await session.network.view.nodes(list({staked.node_id for _, staked in stakes}))
        return stakes, {node_id: node.name for node_id, node in nodes.items()}

    stakes, names = run_session(directory, work)
    if as_json:
        print_json([stake_document(object_id, staked) for object_id, staked in stakes])
        return
    if not stakes:
        _say("no stakes")
    for object_id, staked in stakes:
        state = f"from epoch {staked.activation_epoch}"
        if staked.withdraw_epoch is not None:
            state = f"withdrawing, payable when epoch {staked.withdraw_epoch} is Done"
        name = names.get(staked.node_id, hex_id_text(staked.node_id)[:12])  # type: ignore[call-overload]
        sys.stdout.write(f"{hex_id_text(object_id)}  {frost_text(staked.principal_frost):>16}  {name:<12}  {state}\n")


def request_withdraw_stake(
    object_id: str = OBJECT_OPTION, directory: Path | None = DIR_OPTION, as_json: bool = JSON_OPTION
) -> None:
    """Ask for a stake back: it leaves its pool with a later epoch and earns until then."""
    from haulout.cli.session import run_session
    from haulout.ledger.commands import Existing, RequestWithdraw
    from haulout.primitives import parse_object_id

    wanted = parse_object_id(object_id)

    async def work(session: Session) -> StakedWal | None:
        result = await session.wallet.execute([RequestWithdraw(Existing(wanted))])
        await session.network.view.reach(result.height)
        return dict(await session.network.view.owned_stakes(session.wallet.address)).get(wanted)

    staked = run_session(directory, work)
    if as_json:
        print_json(None if staked is None else stake_document(wanted, staked))
    elif staked is not None:
        _say(f"it can be withdrawn when epoch {staked.withdraw_epoch} is Done: haulout withdraw-stake")


def withdraw_stake(
    object_id: str = OBJECT_OPTION, directory: Path | None = DIR_OPTION, as_json: bool = JSON_OPTION
) -> None:
    """Have a stake paid out with its rewards."""
    from haulout.cli.session import run_session
    from haulout.ledger.commands import Existing, Withdraw
    from haulout.primitives import frost_text, hex_id_text, parse_object_id

    wanted = parse_object_id(object_id)

    async def work(session: Session) -> int:
        before = await session.network.view.balance(session.wallet.address)
        result = await session.wallet.execute([Withdraw(Existing(wanted))])
        await session.network.view.reach(result.height)
        return await session.network.view.balance(session.wallet.address) - before

    paid_frost = run_session(directory, work)
    if as_json:
        print_json({"objectId": hex_id_text(wanted), "paidOut": paid_frost})
    else:
        _say(f"{frost_text(paid_frost)} were paid out")


def stake_document(object_id: ObjectId, staked: StakedWal) -> dict[str, Any]:
    """A stake, as Walrus's tools know it."""
    from haulout.primitives import hex_id_text

    withdrawing = None if staked.withdraw_epoch is None else {"withdrawEpoch": staked.withdraw_epoch}
    return {
        "id": hex_id_text(object_id),
        "nodeId": hex_id_text(staked.node_id),
        "principal": staked.principal_frost,
        "activationEpoch": staked.activation_epoch,
        "state": "Staked" if withdrawing is None else {"Withdrawing": withdrawing},
    }


def _say(text: str) -> None:
    sys.stderr.write(f"haulout: {text}\n")
