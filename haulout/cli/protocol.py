"""`haulout protocol`: the version of the rules that the network follows, and the next one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from haulout.cli.options import DIR_OPTION, JSON_OPTION
from haulout.cli.output import print_json

if TYPE_CHECKING:
    from haulout.cli.session import Session
    from haulout.client.protocol_votes import Activation, NodeReadiness, ProtocolStanding

LAST_EPOCH = (1 << 32) - 1

protocol_app = typer.Typer(help="The version of the rules, and the next one.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    protocol_app.command("show")(show)
    protocol_app.command("activate")(activate)
    app.add_typer(protocol_app, name="protocol")


def show(directory: Path | None = DIR_OPTION, as_json: bool = JSON_OPTION) -> None:
    """Show the version in force, which one every build knows, and whose owner agreed to the next one."""
    from haulout.cli.session import run_session
    from haulout.client.protocol_votes import fetch_standing

    async def work(session: Session) -> ProtocolStanding:
        return await fetch_standing(session.network, session.ledger)

    document = standing_document(run_session(directory, work))
    if as_json:
        print_json(document)
    else:
        sys.stdout.write("\n".join(standing_lines(document)) + "\n")


def activate(
    from_epoch: int | None = typer.Option(
        None, min=2, max=LAST_EPOCH, help="First epoch under the new rules; else the next one."
    ),
    directory: Path | None = DIR_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Put the next version in force: agree for the nodes that you govern, collect the votes, submit them.

    Where others govern nodes too, each of them does this with the same --from-epoch; the last one puts it in force.
    """
    from haulout.account.wallet import read_secret
    from haulout.cli.session import run_session
    from haulout.client import protocol_votes

    async def work(session: Session) -> Activation:
        owners = [read_secret(Path(session.client.wallet)), *session.folder.governance_secrets()]
        return await protocol_votes.activate(
            session.network, session.ledger, session.wallet, owners, start_epoch=from_epoch
        )

    done = run_session(directory, work)
    if as_json:
        print_json(
            {
                "protocolVersion": done.version,
                "fromEpoch": done.start_epoch,
                "votes": done.weight,
                "missing": dict(done.missing),
            }
        )
        return
    votes = f"by the votes of {done.weight} shards" if done.weight else "as was chosen before"
    sys.stderr.write(f"haulout: protocol version {done.version} begins with epoch {done.start_epoch}, {votes}\n")
    for name, code in done.missing.items():
        sys.stderr.write(f"haulout: {name} has not voted ({code}); look whether it can follow before that\n")


def standing_document(standing: ProtocolStanding) -> dict[str, Any]:
    """Where the rules stand, in JSON."""
    from haulout.ledger.apply import PROTOCOL_VERSION

    return {
        "protocolVersion": standing.current,
        "epoch": standing.epoch,
        "next": _choice(standing.chosen),
        "known": PROTOCOL_VERSION,
        "ledgerKnows": standing.ledger_knows,
        "nodes": [_node_document(node) for node in standing.nodes],
    }


def _node_document(node: NodeReadiness) -> dict[str, Any]:
    from haulout.primitives import hex_id_text

    return {
        "name": node.name,
        "nodeId": hex_id_text(node.node_id),
        "shards": node.weight,
        "knows": node.knows,
        "agreed": _choice(node.agreed),
        "problem": node.problem or None,
    }


def _choice(chosen: tuple[int, int] | None) -> dict[str, int] | None:
    return None if chosen is None else {"protocolVersion": chosen[0], "fromEpoch": chosen[1]}


def standing_lines(document: dict[str, Any]) -> list[str]:
    """Where the rules stand, for people."""
    current, chosen, coming = document["protocolVersion"], document["next"], document["protocolVersion"] + 1
    lines = [
        f"protocol version {current} in epoch {document['epoch']}; known here: {document['known']}, "
        f"to the ledger: {document['ledgerKnows'] or 'it does not tell'}"
    ]
    if chosen is not None:
        lines.append(f"version {chosen['protocolVersion']} begins with epoch {chosen['fromEpoch']}")
    for node in document["nodes"]:
        agreed = node["agreed"]
        if node["knows"] is None:
            state = f"does not answer ({node['problem']})"
        elif agreed is None:
            state = f"knows {node['knows'] or 'it does not tell'}"
        else:
            state = f"knows {node['knows']}, agreed to {agreed['protocolVersion']} from epoch {agreed['fromEpoch']} on"
        lines.append(f"  {node['name']:<12} {node['shards']:>4} shards  {state}")
    if chosen is None:
        lines.append(_next_step(document, coming))
    return lines


def _next_step(document: dict[str, Any], coming: int) -> str:
    if min(document["known"], document["ledgerKnows"]) < coming:
        return f"version {coming} is not known everywhere: install a release that knows it, if there is one"
    old = [node["name"] for node in document["nodes"] if node["knows"] is not None and node["knows"] < coming]
    if old:
        return f"version {coming} is unknown to {', '.join(old)}: upgrade them first"
    return f"version {coming} can begin with the next epoch: haulout protocol activate"
