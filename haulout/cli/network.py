"""`haulout up`, `down`, `status`: the network on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from haulout.cli.options import DIR_OPTION, JSON_OPTION, parse_duration_ms
from haulout.cli.output import print_json

if TYPE_CHECKING:
    from haulout.cli.session import Session
    from haulout.embedded.assembly import Running
    from haulout.embedded.epoch_watch import EpochStatus
    from haulout.embedded.folder import NetworkFolder
    from haulout.embedded.layout import Layout
    from haulout.embedded.supervisor import ProcessReport


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("status")(status)


def up(
    directory: Path | None = DIR_OPTION,
    nodes: int | None = typer.Option(None, help="Storage nodes; 5 in a new network."),
    shards: int | None = typer.Option(None, help="Shards; 100 in a new network. They bound the largest blob."),
    port_base: int | None = typer.Option(None, help="First port; 31415 in a new network."),
    epoch_duration: str | None = typer.Option(
        None, help="How long epochs last in a new network: 10s, 2m, 14d. Without it they are advanced by hand."
    ),
    detach: bool = typer.Option(False, "--detach", help="Run in the background; return when a store would succeed."),
    restart: bool = typer.Option(True, "--restart/--no-restart", help="Start a dead process again."),
    monitoring: bool = typer.Option(
        False, "--monitoring", help="Run Prometheus with our alerts beside it, and write dashboards for a Grafana."
    ),
    scrub_rate: int | None = typer.Option(
        None, min=0, help="Bytes per second that each node reads again to find damage; 0 for none."
    ),
    traces: str | None = typer.Option(
        None, help="Send traces to this collector of OTLP over gRPC, as http://127.0.0.1:4317."
    ),
    as_json: bool = JSON_OPTION,
) -> None:
    """Run a network on this machine until Ctrl-C."""
    import asyncio

    from haulout.embedded.assembly import UpOptions, run_network
    from haulout.embedded.folder import find_folder
    from haulout.embedded.layout import Layout
    from haulout.observability.logs import configure_logs
    from haulout.observability.tracing import tracing, variables_for

    folder = find_folder(directory)
    if traces is not None:
        os.environ.update(variables_for(traces))  # all processes inherit them
    duration_ms = None if epoch_duration is None else parse_duration_ms(epoch_duration, field="epoch_duration")
    if detach:
        given = _given(
            nodes=nodes, shards=shards, port_base=port_base, epoch_duration=epoch_duration, scrub_rate=scrub_rate
        )
        flags = [f"--{'' if restart else 'no-'}restart", *(["--monitoring"] if monitoring else [])]
        _detach(folder, [*flags, *given])
        status(directory, as_json)
        if monitoring and not as_json:
            shape = folder.require_shape()
            _say_monitoring(folder, Layout(shape.port_base, shape.n_nodes))
        return
    configure_logs(process="supervisor")
    options = UpOptions(
        folder=folder,
        n_nodes=nodes,
        n_shards=shards,
        port_base=port_base,
        restart=restart,
        epoch_duration_ms=duration_ms,
        monitoring=monitoring,
        scrub_rate=scrub_rate,
    )

    async def announce(running: Running) -> None:
        await _announce(running)
        if monitoring:
            _say_monitoring(folder, running.layout)

    with tracing("supervisor"):
        asyncio.run(run_network(options, on_start=announce, on_ready=_show_live))


def _given(**options: int | str | None) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]


async def _announce(running: Running) -> None:
    layout, shape = running.layout, running.shape
    if layout.port_base != running.wanted_port_base:
        _say(f"ports from {running.wanted_port_base} on are taken; using {layout.port_base} on")
    _say(f"starting {len(layout.node_names)} nodes with {shape.n_shards} shards, ledger, gateway and GraphQL …")


def _say_monitoring(folder: NetworkFolder, layout: Layout) -> None:
    from haulout.embedded.monitoring import find_prometheus, grafana_command, monitoring_folder

    if find_prometheus() is None:
        where = monitoring_folder(folder)
        _say(f"no prometheus on this machine (Debian: apt-get install prometheus); files for one are in {where}")
    else:
        _say(f"Prometheus, with our alerts: http://{layout.address_of('prometheus')}/alerts")
    _say(f"dashboards, with a Grafana: {grafana_command(folder)}")


async def _show_live(running: Running) -> None:
    import asyncio

    supervisor, layout = running.supervisor, running.layout
    _say(f"ready: {layout.urls_of('gateway')['http']}  {layout.urls_of('graphql')['graphql']}")
    _say(
        "who reaches these addresses may read and store without a token (HAULOUT_ANONYMOUS=READ: only read, by GraphQL)"
    )
    if not (sys.stderr.isatty() or "FORCE_COLOR" in os.environ):  # nobody to draw for: rich stays unloaded
        await asyncio.Event().wait()
    from rich.console import Console
    from rich.live import Live

    from haulout.embedded.table import build_table
    from haulout.world.clock import SystemClock

    clock = SystemClock()
    console = Console(stderr=True)
    if not console.is_terminal:
        await asyncio.Event().wait()
    footer = "store a file: haulout store FILE --epochs 5    stop: Ctrl-C"

    def render() -> Any:
        epochs = running.epochs.status
        epoch = "" if epochs is None else f" · {epochs.text(clock.now_ms())}"
        title = f"haulout · {running.shape.n_shards} shards{epoch}"
        return build_table(supervisor.reports(), title=title, footer=footer)

    with Live(render(), console=console, auto_refresh=False, transient=False) as live:
        while True:
            await asyncio.sleep(0.5)
            live.update(render(), refresh=True)


def _say(text: str) -> None:
    sys.stderr.write(f"haulout: {text}\n")


def _detach(folder: NetworkFolder, options: list[str]) -> None:
    """Start a supervisor in a session of its own and wait until it is ready or has failed with its own message."""
    from haulout.embedded.assembly import READY_TIMEOUT_S
    from haulout.embedded.folder import read_json

    with folder.locked():  # it can be used, and nobody runs it
        pass
    log = folder.log_of("supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "haulout.cli", "up", "--dir", str(folder.root), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + READY_TIMEOUT_S + 30
        while time.monotonic() < deadline:
            code = process.poll()
            if code is not None:
                sys.stderr.write(log.read_text(errors="replace"))
                raise typer.Exit(code or 1)
            record = read_json(folder.supervisor_file) or {}
            if record.get("pid") == process.pid and record.get("ready"):
                return
            time.sleep(0.05)
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        raise
    process.send_signal(signal.SIGTERM)
    sys.stderr.write(log.read_text(errors="replace"))
    raise typer.Exit(4)


def down(directory: Path | None = DIR_OPTION, as_json: bool = JSON_OPTION) -> None:
    """Stop the network of a folder; its data stays. What does not end in time is killed, and nothing is lost by it."""
    from haulout.embedded.ending import ASKED_PATIENCE_S, Ended, end_network
    from haulout.embedded.folder import find_folder

    folder = find_folder(directory)
    folder.require_shape()

    def on_wait(names: Sequence[str]) -> None:
        who = ", ".join(names) or "the supervisor"
        _say(f"waiting for {who} to end; what is left in {ASKED_PATIENCE_S:.0f} s is killed")

    ended = end_network(folder, on_wait=on_wait)
    if as_json:
        document = {"dir": str(folder.root), "stopped": ended is not Ended.NOT_RUNNING, "killed": ended is Ended.KILLED}
        print_json(document)
        return
    _say(
        {
            Ended.STOPPED: "stopped",
            Ended.KILLED: "it did not end when asked, so it was killed; its data is whole. Why is in "
            f"{folder.root / 'logs'}",
            Ended.ORPHANS: "ended what a dead supervisor had left running",
            Ended.NOT_RUNNING: "it was not running",
        }[ended]
    )


def status(directory: Path | None = DIR_OPTION, as_json: bool = JSON_OPTION) -> None:
    """Show the processes of the network, what the nodes hold, and what is missing."""
    import asyncio

    from haulout.embedded.folder import find_folder

    folder = find_folder(directory)
    folder.require_shape()
    ready, reports = asyncio.run(_reports(folder))
    is_running = any(report.pid is not None for report in reports)
    epochs = _epoch_status(directory) if is_running else None
    if as_json:
        document: dict[str, Any] = {"dir": str(folder.root), "ready": ready}
        if epochs is not None:
            document["epoch"] = _epoch_document(epochs)
        print_json({**document, "processes": [_document(r) for r in reports]})
        return
    from rich.console import Console

    from haulout.embedded.table import build_table
    from haulout.world.clock import SystemClock

    footer = _missing(reports) if is_running else "not running; start it with `haulout up`"
    epoch = "" if epochs is None else f" · {epochs.text(SystemClock().now_ms())}"
    Console().print(build_table(reports, title=f"haulout · {folder.root}{epoch}", footer=footer))


def _epoch_status(directory: Path | None) -> EpochStatus | None:
    """Where the epoch stands; None while the ledger does not answer."""
    from haulout.cli.session import NetworkNotAnswering, run_session
    from haulout.embedded.epoch_watch import fetch_epoch_status
    from haulout.errors import Unavailable

    async def work(session: Session) -> EpochStatus:
        return await fetch_epoch_status(session.network.view)

    try:
        return run_session(directory, work)
    except (NetworkNotAnswering, Unavailable):
        return None


def _epoch_document(status: EpochStatus) -> dict[str, Any]:
    return {
        "epoch": status.epoch,
        "phase": status.phase.name.capitalize(),
        "forced": status.forced,
        "dueMs": status.due_ms,
        "movingShards": status.n_moving,
        "syncing": list(status.syncing),
    }


async def _reports(folder: NetworkFolder) -> tuple[bool, list[ProcessReport]]:
    from haulout.embedded.control import fetch_reports

    return await fetch_reports(folder)


def _document(report: ProcessReport) -> dict[str, object]:
    document: dict[str, object] = {
        "name": report.name,
        "role": report.role,
        "pid": report.pid,
        "state": report.state,
        "urls": dict(report.urls),
        "restarts": report.n_restarts,
        "reasons": list(report.reasons),
    }
    if report.health is not None:
        health = report.health
        document["node"] = {
            "shards": len(health.shards),
            "height": health.height,
            "epoch": health.epoch,
            "status": health.status,
            "storedSlivers": health.stored_slivers,
            "storedBytes": health.stored_bytes,
            "incompleteBlobs": health.incomplete_blobs,
            "corruptSlivers": health.corrupt_slivers,
            "attestedHeight": health.attested_height,
            "gainingShards": len(health.gaining),
            "givingShards": len(health.giving),
            "movingBytes": health.moving_bytes,
            "movedBytes": health.moved_bytes,
        }
    return document


def _missing(reports: list[ProcessReport]) -> str:
    """One line: who is away, and who lacks what."""
    nodes = [report for report in reports if report.role == "node"]
    away = [report.name for report in reports if report.state != "ready"]
    lacking = [
        f"{r.name} lacks {r.health.incomplete_blobs} blobs" for r in nodes if r.health and r.health.incomplete_blobs
    ]
    parts = []
    if away:
        parts.append(f"away: {', '.join(away)}")
    if lacking:
        parts.append(f"{', '.join(lacking)} (being rebuilt)")
    return "; ".join(parts) or "nothing is missing"
