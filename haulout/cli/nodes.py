"""`haulout node`: storage nodes are stopped and started, and join and leave the network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from haulout.cli.options import DIR_OPTION, JSON_OPTION
from haulout.cli.output import print_json

if TYPE_CHECKING:
    from haulout.cli.session import Session
    from haulout.client.view import NodeStanding
    from haulout.primitives import ObjectId

LOOK_AGAIN_MS = 500
ATTEST_LOOKS = 60

UNTIL_THEN = {
    False: "keep it running, and run this again to end it",
    True: "the others rebuild what it had; run this again to see when they have",
}

WAIT_OPTION = typer.Option(True, "--wait/--no-wait", help="Wait until nothing depends on the node, then end it.")

node_app = typer.Typer(help="Storage nodes of the network on this machine.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    node_app.command("stop")(node_stop)
    node_app.command("start")(node_start)
    node_app.command("add")(node_add)
    node_app.command("drain")(node_drain)
    node_app.command("remove")(node_remove)
    app.add_typer(node_app, name="node")


def node_stop(name: str, directory: Path | None = DIR_OPTION, as_json: bool = JSON_OPTION) -> None:
    """Stop one process and leave it stopped."""
    _switch(directory, "stop", name, as_json)


def node_start(name: str, directory: Path | None = DIR_OPTION, as_json: bool = JSON_OPTION) -> None:
    """Start one stopped process."""
    _switch(directory, "start", name, as_json)


def node_add(
    stake: str = typer.Option("2000WAL", help="What to stake on it; it decides how many shards it gets."),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Start one storage node more; with stake enough it is a member from the next epoch on, and its shards arrive."""
    from haulout.cli.session import run_session
    from haulout.embedded.control import open_control
    from haulout.embedded.folder import find_folder
    from haulout.primitives import frost_text, hex_id_text, parse_frost

    folder = find_folder(directory)
    folder.require_shape()
    stake_frost = parse_frost(stake, field="stake")

    async def work(session: Session) -> tuple[str, ObjectId, str]:
        async with open_control(folder) as control:
            name, node_id = await control.add_node(stake_frost)
        return name, node_id, "" if as_json else await _prospect(session, node_id)

    name, node_id, prospect = run_session(directory, work)
    if as_json:
        print_json({"name": name, "nodeId": hex_id_text(node_id), "stake": stake_frost})
    else:
        _say(f"{name} runs, with {frost_text(stake_frost)} staked; {prospect}")


def node_drain(
    name: str, wait: bool = WAIT_OPTION, directory: Path | None = DIR_OPTION, as_json: bool = JSON_OPTION
) -> None:
    """Have a node leave with the next epoch; it hands its shards over and is then ended."""
    _leave(directory, name, is_dead=False, wait=wait, as_json=as_json)


def node_remove(
    name: str, wait: bool = WAIT_OPTION, directory: Path | None = DIR_OPTION, as_json: bool = JSON_OPTION
) -> None:
    """Take a dead node out: it is ended at once, and the others rebuild what it had."""
    _leave(directory, name, is_dead=True, wait=wait, as_json=as_json)


def _switch(directory: Path | None, verb: str, name: str, as_json: bool) -> None:
    import asyncio

    from haulout.embedded.control import open_control
    from haulout.embedded.folder import find_folder

    folder = find_folder(directory)
    folder.require_shape()

    async def switch() -> None:
        async with open_control(folder) as control:
            await (control.stop_node(name) if verb == "stop" else control.start_node(name))

    asyncio.run(switch())
    if as_json:
        print_json({"name": name, "done": verb})
    else:
        _say(f"{name}: {verb} done")


def _leave(directory: Path | None, name: str, *, is_dead: bool, wait: bool, as_json: bool) -> None:
    """Request the leave, follow it, and let the process go when nothing depends on it."""
    from haulout.cli.session import run_session
    from haulout.embedded.control import open_control
    from haulout.embedded.folder import find_folder
    from haulout.primitives import hex_id_text

    folder = find_folder(directory)
    folder.require_shape()

    async def work(session: Session) -> tuple[ObjectId, NodeStanding | None, int]:
        async with open_control(folder) as control:
            node_id = await (control.remove_node(name, is_dead=True) if is_dead else control.drain_node(name))
            if not wait:
                return node_id, await session.network.view.standing(node_id), 0
            await _follow(session, node_id, say=not as_json)
            await _wait_for_attestation(session)
            await control.remove_node(name, is_dead=False)  # refused where it is not attested
            return node_id, await session.network.view.standing(node_id), await _attested_height(session)

    node_id, standing, height = run_session(directory, work)
    if as_json:
        print_json({"name": name, "nodeId": hex_id_text(node_id), "done": wait, **_proof(standing, height)})
    elif wait:
        _say(
            f"{name} is ended: it owns no shard, nobody takes anything from it, and the nodes have attested this "
            f"in block {height}"
        )
    else:
        _say(f"{name} leaves with the next epoch; {UNTIL_THEN[is_dead]}")


async def _prospect(session: Session, node_id: ObjectId) -> str:
    """What a node's stake is worth, as far as is known."""
    from haulout.errors import HauloutError
    from haulout.ledger.plan import plan_next_committee

    try:
        plan = plan_next_committee(await session.network.view.plan_state())
    except HauloutError:  # the node is there all the same
        return "`haulout epoch plan` tells how many shards that is worth"
    n_shards = len(plan.assignment.get(node_id, ()))
    if n_shards:
        return f"it is a member from epoch {plan.epoch} on, with {n_shards} shards if nobody's stake changes"
    if plan.kept_because is not None:
        return f"the committee stays as it is: {plan.kept_because}"
    return "that is worth no shard: `haulout epoch plan --stake` tells what would be"


def _proof(standing: NodeStanding | None, height: int) -> dict[str, Any]:
    if standing is None:
        return {"attestedHeight": height}
    return {
        "epoch": standing.epoch,
        "shards": standing.n_shards,
        "handingOver": standing.n_giving,
        "attestedHeight": height,
    }


async def _follow(session: Session, node_id: ObjectId, *, say: bool) -> None:
    """Wait until a node owns nothing and hands nothing over any more; say each change."""
    last = ""
    while True:
        standing = await session.network.view.standing(node_id)
        if standing is None or not standing.is_needed:
            return
        phase = standing.phase.name.capitalize()
        if standing.n_giving:
            text = f"epoch {standing.epoch}: {standing.n_giving} shards that it had are not settled elsewhere yet"
        elif standing.n_shards_next:
            text = f"epoch {standing.epoch}: it is in the next committee already, and leaves with the one after"
        else:
            text = f"epoch {standing.epoch} ({phase}): it owns {standing.n_shards} shards until the next epoch"
        if say and text != last:
            _say(text)
            last = text
        await session.network.clock.sleep_ms(LOOK_AGAIN_MS)


async def _wait_for_attestation(session: Session) -> None:
    """Wait a while for the nodes to attest the present head."""
    head = (await session.ledger.status()).head.height
    for _ in range(ATTEST_LOOKS):
        if await _attested_height(session) >= head:
            return
        await session.network.clock.sleep_ms(LOOK_AGAIN_MS)


async def _attested_height(session: Session) -> int:
    latest = (await session.ledger.attestation()).latest
    return 0 if latest is None else latest.checkpoint.height


def _say(text: str) -> None:
    sys.stderr.write(f"haulout: {text}\n")
