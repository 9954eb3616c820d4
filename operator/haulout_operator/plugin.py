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

from haulout_operator.models.base import GROUP
from haulout_operator.names import ADVANCE_ANNOTATION, FIELD_MANAGER, GRPC_PORT, PAUSED_ANNOTATION

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
NETWORK = typer.Option("", help="Name of the StorageNetwork; may be left out where there is but one.")


@app.command()
def status(network: str = NETWORK, namespace: str = NAMESPACE) -> None:
    """Epoch, shards, budget and every node, with what is not as it should be."""
    body = _find_network(namespace, network)
    name = body["metadata"]["name"]
    nodes, pools = (
        [one for one in _get(namespace, kind)["items"] if one["spec"]["networkRef"]["name"] == name]
        for kind in ("sn", "snp")
    )
    typer.echo("\n".join([*_look_for_operator(namespace), *describe_network(body, nodes, pools)]))


@app.command()
def why(
    what: str = typer.Argument(help="As sn/main-x7k2, or sn main-x7k2."),
    name: str = typer.Argument("", show_default=False),
    namespace: str = NAMESPACE,
) -> None:
    """What an object waits for: `kubectl haulout why sn/main-x7k2`."""
    kind, slash, rest = what.partition("/")
    if not kind or bool(rest) == bool(name) or (slash and name):
        raise typer.BadParameter("write it as sn/main-x7k2")
    told = describe_troubles(_get(namespace, kind, rest or name))
    if told:
        told += _look_for_operator(namespace)
    typer.echo("\n".join(told or ["nothing: all its conditions are as they should be"]))


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

    body = _find_network(namespace, network)
    network = body["metadata"]["name"]
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

    if not out.parent.is_dir():
        sys.exit(f"kubectl-haulout: {out.parent} is no folder; --out says where to write")
    missing: list[str] = []

    def ask(*arguments: str) -> str:
        done = _run(namespace, *arguments)
        if done.returncode == 0:
            return done.stdout
        told = f"kubectl {' '.join(arguments)}: {done.stderr.strip()}\n"
        if "--previous" not in arguments:  # few containers have been there before
            missing.append(told.strip())
        return told

    files = collect(ask)
    if not any(name.endswith(".json") for name in files):
        sys.exit(f"kubectl-haulout: nothing could be asked for; the first answer was: {missing[0]}")
    out.write_bytes(pack(files))
    typer.echo(f"{out}: {len(files)} files; look through it before you hand it on")
    if missing:
        typer.echo(f"not in it, as the files say: {len(missing)}, as {missing[0]}", err=True)


@epoch_app.command("advance")
def advance(network: str = NETWORK, namespace: str = NAMESPACE) -> None:
    """Change the epoch now, on a network with manual epochs."""
    body = _find_network(namespace, network)
    network = body["metadata"]["name"]
    if not body["spec"].get("epoch", {}).get("manual"):
        sys.exit(
            "kubectl-haulout: the network's epochs follow its clock; only one founded with epoch.manual obeys this"
        )
    epoch = (body.get("status") or {}).get("epoch", {}).get("number")
    if epoch is None:
        sys.exit("kubectl-haulout: the network has no epoch yet; kubectl haulout status says why")
    if is_paused(body):
        command = f"kubectl annotate snet/{network} {PAUSED_ANNOTATION}-"
        sys.exit(f"kubectl-haulout: the operator is paused for this network; {command}")
    _kubectl(namespace, "annotate", "--overwrite", f"snet/{network}", f"{ADVANCE_ANNOTATION}={epoch}")
    change = f"ept/{network}-{epoch + 1}"
    if not asyncio.run(_appears(namespace, change)):
        sys.exit("\n".join([why_not_begun(network, epoch, body), *_look_for_operator(namespace)]))
    typer.echo(f"epoch {epoch + 1} begins; kubectl wait --for=condition=Complete {change}")


async def _appears(namespace: str, what: str) -> bool:
    """Whether an object is there within a minute."""
    for _ in range(APPEARS_S):
        if _kubectl(namespace, "get", what, "--ignore-not-found", "-o", "name").strip():
            return True
        await asyncio.sleep(1)
    return False


def is_paused(body: dict[str, Any]) -> bool:
    """Whether people have paused the operator for this network."""
    annotations = body["metadata"].get("annotations") or {}
    return str(annotations.get(PAUSED_ANNOTATION, "")).lower() == "true"


def why_not_begun(network: str, epoch: int, body: dict[str, Any]) -> str:
    """Why a change of epoch that was asked for is not there yet."""
    told = f"kubectl-haulout: ept/{network}-{epoch + 1} has not begun"
    if ((body.get("status") or {}).get("epoch") or {}).get("phase") == "Sync":
        return f"{told}: it does once epoch {epoch} has what it gained; kubectl describe ept/{network}-{epoch}"
    return f"{told}; kubectl haulout status says why"


def describe_network(
    body: dict[str, Any], nodes: Sequence[dict[str, Any]], pools: Sequence[dict[str, Any]] = ()
) -> list[str]:
    """Lines about a network, its nodes, and pools that are not as they should be."""
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
    for pool in sorted(pools, key=lambda one: str(one["metadata"]["name"])):
        if troubles := describe_troubles(pool):
            lines += [f"pool     {pool['metadata']['name']}", *(f"         {line}" for line in troubles)]
    return [*lines, *describe_troubles(body)]


# Facts that are good when they do not hold.
GOOD_WHEN_FALSE = frozenset(("Degraded", "Progressing", "ScalingBlocked", "Stalled", "Paused", "ZoneOverBudget"))
EXPECTED = frozenset(("TransportSecure", "Drained"))  # the latter says no more than Ready does


def describe_troubles(body: dict[str, Any]) -> list[str]:
    """One line per condition that is not as it should be; and whether what they say is what somebody saw."""
    told = body.get("status") or {}
    conditions, lines = told.get("conditions") or (), []
    if str(body.get("apiVersion", "")).startswith(f"{GROUP}/"):
        seen, generation = int(told.get("observedGeneration") or 0), int(body["metadata"].get("generation") or 0)
        if not conditions:
            lines.append("nobody has looked at it yet; an operator in its namespace does")
        elif 0 < seen < generation:
            lines.append("nobody has looked at it since it was changed; what follows was so before")
    for one in conditions:
        good = "False" if one["type"] in GOOD_WHEN_FALSE else "True"
        if one["status"] != good and one["type"] not in EXPECTED:
            line = f"{one['type']}={one['status']} {one.get('reason', '')}: {one.get('message', '')}"
            lines.append(line.rstrip(": "))
    return lines


def describe_operator(pods: Sequence[dict[str, Any]]) -> list[str]:
    """What to know of the operator's Pods; nothing when one is ready."""
    ready = [
        pod
        for pod in pods
        for one in (pod.get("status") or {}).get("conditions") or ()
        if one["type"] == "Ready" and one["status"] == "True"
    ]
    if ready:
        return []
    if not pods:
        return ["operator none runs in this namespace, so nothing changes and what is said here may be old"]
    names = ", ".join(f"pod/{pod['metadata']['name']}" for pod in pods)
    return [f"operator not ready: {names}; kubectl describe and kubectl logs of it say why"]


def _look_for_operator(namespace: str) -> list[str]:
    """Whether somebody looks after the namespace, as far as the user may see that."""
    asked = _run(namespace, "get", "pods", "-l", f"app.kubernetes.io/component={FIELD_MANAGER}", "-o", "json")
    if asked.returncode:
        return [f"operator cannot be seen: {asked.stderr.strip()}"]
    return describe_operator(json.loads(asked.stdout)["items"])


def _find_network(namespace: str, name: str) -> dict[str, Any]:
    """The network that is meant: by its name, or the only one there is."""
    known: list[dict[str, Any]] = _get(namespace, "snet")["items"]
    meant = [one for one in known if name in ("", one["metadata"]["name"])]
    if len(meant) == 1:
        return meant[0]
    names = ", ".join(sorted(one["metadata"]["name"] for one in known))
    if not known:
        sys.exit("kubectl-haulout: there is no StorageNetwork in this namespace; -n names another one")
    if not meant:
        sys.exit(f"kubectl-haulout: there is no StorageNetwork {name} in this namespace; there are: {names}")
    sys.exit(f"kubectl-haulout: which network? --network names one of {names}")


@contextlib.contextmanager
def _forwarded(namespace: str, target: str, port: int) -> Iterator[str]:
    """A port of the cluster on this machine, by the user's own kubectl."""
    scope = ["-n", namespace] if namespace else []
    command = ["kubectl", *scope, "port-forward", target, f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            line = process.stdout.readline()  # Forwarding from 127.0.0.1:40123 -> 9000
            match = re.search(r"127\.0\.0\.1:\d+", line)
            if match is None:
                sys.exit(f"kubectl-haulout: {target} cannot be reached: {process.stderr.readline().strip()}")
            yield match.group()
        finally:
            process.terminate()


def _get(namespace: str, kind: str, name: str = "") -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_kubectl(namespace, "get", kind, *([name] if name else []), "-o", "json"))
    return document


def _kubectl(namespace: str, *arguments: str) -> str:
    done = _run(namespace, *arguments)
    if done.returncode:
        sys.exit(f"kubectl-haulout: {done.stderr.strip()}{_hint(done.stderr)}")
    return done.stdout


def _hint(problem: str) -> str:
    """What to do about an answer of kubectl that does not say it itself."""
    if "the server doesn't have a resource type" in problem:
        return "\nHaulout is not installed in this cluster, or kubectl's context is another one: helm list -A"
    return ""


def _run(namespace: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    scope = ["-n", namespace] if namespace else []
    try:
        return subprocess.run(["kubectl", *scope, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        sys.exit("kubectl-haulout: there is no kubectl here")


def main() -> None:
    """The plug-in."""
    app()


if __name__ == "__main__":
    main()
