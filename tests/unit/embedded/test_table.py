"""The table of processes: what people read off it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pytest
from rich.console import Console

from haulout.embedded.layout import Layout, role_of
from haulout.embedded.supervisor import ProcessReport
from haulout.embedded.table import build_table, size_text


@dataclass
class Health:
    shards: tuple[int, ...] = tuple(range(20))
    height: int = 1234
    stored_bytes: int = 5 << 20
    incomplete_blobs: int = 3
    gaining: tuple[int, ...] = (18, 19)
    giving: tuple[int, ...] = (20,)
    moving_bytes: int = 4 << 20
    moved_bytes: int = 1 << 20


def shown(*reports: ProcessReport) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(build_table(reports, title="title", footer="footer"))
    return console.file.getvalue()


def report(name: str, state: str, *, reasons=(), restarts=0, health=None) -> ProcessReport:
    return ProcessReport(name, role_of(name), 42, state, reasons, restarts, Layout(31415, 5).urls_of(name), health)


def test_a_node_shows_what_it_holds_and_lacks() -> None:
    line = next(
        line for line in shown(report("node-0", "ready", restarts=2, health=Health())).splitlines() if "node" in line
    )
    assert line.split() == [
        "node-0",
        "ready",
        "(2×)",
        "42",
        "127.0.0.1:31425",
        "20",
        "+2",
        "-1",
        "1.0",
        "MiB",
        "of",
        "4.0",
        "MiB",
        "1234",
        "5.0",
        "MiB",
        "3",
        "blobs",
    ]


def test_reasons_are_shown_of_those_that_are_not_ready() -> None:
    text = shown(
        report("gateway", "not ready", reasons=("LEDGER_DIVERGED: block 7",)),
        report("ledger", "ready", reasons=("old",)),
    )
    assert "gateway: LEDGER_DIVERGED: block 7" in text
    assert "old" not in text
    assert text.rstrip().endswith("footer")


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (1 << 50, "1.0 PiB")]
)
def test_sizes(size, text) -> None:
    assert size_text(size) == text
