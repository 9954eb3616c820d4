"""`kubectl haulout`: what a network is doing, why something waits, what comes next, and the next epoch now.

A kubectl plug-in is a program called `kubectl-haulout`; this one asks the user's own kubectl, with its context and its
permissions, and changes nothing but one annotation.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from haulout_operator.names import ADVANCE_ANNOTATION, GRPC_PORT

app = typer.Typer(
    name="kubectl-haulout",
    help="Haulout networks in Kubernetes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
epoch_app = typer.Typer(help="Epochs of a network.", no_args_is_help=True)
app.add_typer(epoch_app, name="epoch")

NAMESPACE = typer.Option("", "--namespace", "-n", help="Namespace; that of kubectl's context by default.")
APPEARS_S = 60
NETWORK = typer.Option("main", help="Name of the StorageNetwork.")


@app.command()
def status(network: str = NETWORK, namespace: str = NAMESPACE) -> None:
    """Epoch, shards, budget and every node, with what is not as it should be."""
    body = _get(namespace, "snet", network)
    nodes = [one for one in _get(namespace, "sn")["items"] if one["spec"]["networkRef"]["name"] == network]
    typer.echo("\n".join(describe_network(body, nodes)))


@app.command()
def why(what: str, namespace: str = NAMESPACE) -> None:
    """What an object waits for: `kubectl haulout why sn/main-x7k2`."""
    kind, slash, name = what.partition("/")
    if not slash or not name:
        raise typer.BadParameter("write it as sn/main-x7k2")
    typer.echo(
        "\n".join(
            describe_troubles(_get(namespace, kind, name)) or ["nothing: all its conditions are as they should be"]
        )
    )


@app.command()
def plan(
    network: str = NETWORK,
    leave: list[str] = typer.Option([], help="As if this node left; repeatable."),
    namespace: str = NAMESPACE,
) -> None:
    """Who would own how many shards after the next change of epoch, and the fault budget."""
    from haulout.errors import HauloutError
    from haulout.wire.ledger import GrpcLedger
    from haulout_operator.next_plan import budget_lines, describe_plan

    body = _get(namespace, "snet", network)
    chain_id = (body.get("status") or {}).get("chainId")
    if not chain_id:
        sys.exit("kubectl-haulout: the network is not founded yet; kubectl haulout status says why")

    async def describe(address: str) -> list[str]:
        ledger = GrpcLedger(address)
        try:
            return await describe_plan(ledger, chain_id, leave)
        finally:
            await ledger.close()

    with _forwarded(namespace, f"svc/{network}-ledger", GRPC_PORT) as address:
        try:
            lines = asyncio.run(describe(address))
        except HauloutError as e:
            sys.exit(f"kubectl-haulout: {e}")
    typer.echo("\n".join([*budget_lines(body), *lines]))


@app.command()
def report(
    out: Path = typer.Option(Path("haulout-report.tar.gz"), "--out", "-o", help="File to write."),
    namespace: str = NAMESPACE,
) -> None:
    """A bundle for whoever helps you: objects, events and logs, without Secrets and what sounds like one."""
    from haulout_operator.support_bundle import collect, pack

    def ask(*arguments: str) -> str:
        scope = ["-n", namespace] if namespace else []
        done = subprocess.run(["kubectl", *scope, *arguments], capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else f"kubectl {' '.join(arguments)}: {done.stderr.strip()}\n"

    files = collect(ask)
    out.write_bytes(pack(files))
    typer.echo(f"{out}: {len(files)} files; look through it before you hand it on")


@epoch_app.command("advance")
def advance(network: str = NETWORK, namespace: str = NAMESPACE) -> None:
    """Change the epoch now, on a network with manual epochs."""
    body = _get(namespace, "snet", network)
    if not body["spec"].get("epoch", {}).get("manual"):
        sys.exit(
            "kubectl-haulout: the network's epochs follow its clock; only one founded with epoch.manual obeys this"
        )
    epoch = (body.get("status") or {}).get("epoch", {}).get("number")
    if epoch is None:
        sys.exit("kubectl-haulout: the network has no epoch yet; kubectl haulout status says why")
    _kubectl(namespace, "annotate", "--overwrite", f"snet/{network}", f"{ADVANCE_ANNOTATION}={epoch}")
    change = f"ept/{network}-{epoch + 1}"
    if not asyncio.run(_appears(namespace, change)):
        sys.exit(f"kubectl-haulout: {change} has not begun; kubectl haulout status says why")
    typer.echo(f"epoch {epoch + 1} begins; kubectl wait --for=condition=Complete {change}")


async def _appears(namespace: str, what: str) -> bool:
    """Whether an object is there within a minute."""
    for _ in range(APPEARS_S):
        if _kubectl(namespace, "get", what, "--ignore-not-found", "-o", "name").strip():
            return True
        await asyncio.sleep(1)
    return False


def describe_network(body: dict[str, Any], nodes: Sequence[dict[str, Any]]) -> list[str]:
    """Lines about a network and its nodes."""
    told = body.get("status") or {}
    epoch, shards, budget = (told.get(name) or {} for name in ("epoch", "shards", "faultBudget"))
    lines = [
        f"network  {body['metadata']['name']}, chain {told.get('chainId', 'not founded')}",
        f"epoch    {epoch.get('number', '-')}, phase {epoch.get('phase', '-')}, ends {epoch.get('endsAt', '-')}",
        f"shards   {shards.get('available', 0)} of {shards.get('total', 0)} available, "
        f"{shards.get('moving', 0)} moving",
        f"budget   {budget.get('remaining', 0)} of {budget.get('limit', 0)} shards may be unavailable",
    ]
    for node in sorted(nodes, key=lambda one: str(one["metadata"]["name"])):
        state = node.get("status") or {}
        count = (state.get("committee") or {}).get("shardCount", 0)
        facts = (state.get("phase", "new"), f"{count} shards", state.get("stake", "-"))
        lines.append(f"node     {node['metadata']['name']}: {', '.join(facts)}")
        lines += [f"         {line}" for line in describe_troubles(node)]
    return [*lines, *describe_troubles(body)]


# Facts that are good when they do not hold.
GOOD_WHEN_FALSE = frozenset(("Degraded", "Progressing", "ScalingBlocked", "Paused", "ZoneOverBudget"))
EXPECTED = frozenset(("TransportSecure", "Drained"))  # the latter says no more than Ready does


def describe_troubles(body: dict[str, Any]) -> list[str]:
    """One line per condition that is not as it should be."""
    lines = []
    for one in (body.get("status") or {}).get("conditions") or ():
        good = "False" if one["type"] in GOOD_WHEN_FALSE else "True"
        if one["status"] != good and one["type"] not in EXPECTED:
            lines.append(f"{one['type']}={one['status']} {one['reason']}: {one['message']}".rstrip(": "))
    return lines


@contextlib.contextmanager
def _forwarded(namespace: str, target: str, port: int) -> Iterator[str]:
    """A port of the cluster on this machine, by the user's own kubectl."""
    scope = ["-n", namespace] if namespace else []
    command = ["kubectl", *scope, "port-forward", target, f":{port}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    try:
        line = process.stdout.readline()  # Forwarding from 127.0.0.1:40123 -> 9000
        match = re.search(r"127\.0\.0\.1:\d+", line)
        if match is None:
            sys.exit(f"kubectl-haulout: {target} cannot be reached: {process.stderr.readline().strip()}")
        yield match.group()
    finally:
        process.terminate()
        process.wait()


def _get(namespace: str, kind: str, name: str = "") -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_kubectl(namespace, "get", kind, *([name] if name else []), "-o", "json"))
    return document


def _kubectl(namespace: str, *arguments: str) -> str:
    scope = ["-n", namespace] if namespace else []
    try:
        done = subprocess.run(["kubectl", *scope, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        sys.exit("kubectl-haulout: there is no kubectl here")
    if done.returncode:
        sys.exit(f"kubectl-haulout: {done.stderr.strip()}")
    return done.stdout


def main() -> None:
    """The plug-in."""
    app()


if __name__ == "__main__":
    main()
