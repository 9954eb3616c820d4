"""The live table of `haulout up`, and the same table once for `haulout status`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from haulout.embedded.supervisor import ProcessReport

STATE_STYLE = {"ready": "green", "starting": "yellow", "not ready": "yellow", "restarting": "red", "exited": "red"}


def build_table(reports: Sequence[ProcessReport], *, title: str, footer: str) -> RenderableType:
    """Processes with their state; nodes with their shards, those on their way and how much of them has come, blocks and
    what they hold and lack."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    for heading in ("process", "state", "pid", "where", "shards", "moving", "moved", "height", "stored", "lacks"):
        table.add_column(heading, justify="right" if heading in _NUMBERS else "left", no_wrap=True)
    for report in reports:
        url = next(url for kind, url in sorted(report.urls.items()) if kind != "metrics")
        where = url.removeprefix("http://").partition("/")[0]
        state = Text(report.state, style=STATE_STYLE.get(report.state, "dim"))
        if report.n_restarts:
            state.append(f" ({report.n_restarts}×)", style="dim")
        table.add_row(report.name, state, str(report.pid or ""), where, *_node_cells(report))
    problems = [f"{r.name}: {'; '.join(r.reasons)}" for r in reports if r.reasons and r.state != "ready"]
    return Group(table, *(Text(problem, style="yellow") for problem in problems), Text(footer, style="dim"))


_NUMBERS = {"pid", "shards", "moving", "moved", "height", "stored", "lacks"}


def _node_cells(report: ProcessReport) -> tuple[str, ...]:
    health = report.health
    if health is None:
        return ("",) * 6
    lacks = f"{health.incomplete_blobs} blobs" if health.incomplete_blobs else ""
    return (
        str(len(health.shards)),
        moving_text(len(health.gaining), len(health.giving)),
        moved_text(health.moved_bytes, health.moving_bytes) if health.gaining else "",
        str(health.height),
        size_text(health.stored_bytes),
        lacks,
    )


def moving_text(n_gaining: int, n_giving: int) -> str:
    """Shards on their way to a node and from it."""
    parts = [f"+{n_gaining}"] if n_gaining else []
    return " ".join([*parts, f"-{n_giving}"] if n_giving else parts)


def moved_text(moved_bytes: int, moving_bytes: int) -> str:
    """What has come of the shards on their way to a node."""
    return f"{size_text(moved_bytes)} of {size_text(moving_bytes)}"


def size_text(size_bytes: int) -> str:
    """Bytes for people, in binary units with one decimal."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1024:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} PiB"
