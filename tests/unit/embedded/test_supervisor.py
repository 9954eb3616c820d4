"""The supervisor's own part: what it writes down, and that it goes on when it cannot."""

from __future__ import annotations

import errno
import os

import pytest

from haulout.embedded.folder import NetworkFolder, read_json
from haulout.embedded.layout import Layout
from haulout.embedded.metrics import SupervisorCollector
from haulout.embedded.supervisor import Supervisor
from haulout.errors import InvalidField
from haulout.observability.metrics import build_registry
from haulout.world.clock import SystemClock


@pytest.fixture
def supervisor(tmp_path):
    folder = NetworkFolder(tmp_path / "net")
    return Supervisor(folder, Layout(31415, 5), restart=True, clock=SystemClock(), transport=None)


def test_it_writes_down_who_runs(supervisor, tmp_path) -> None:
    supervisor.record()
    document = read_json(tmp_path / "net" / "supervisor.json")
    assert document["pid"] == os.getpid()
    assert (document["address"], document["ready"], document["children"]) == ("127.0.0.1:31418", False, {})


def test_a_full_disk_does_not_end_it_and_is_made_up_for(supervisor, tmp_path, monkeypatch) -> None:
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        supervisor.record()
        supervisor.record()
    assert not (tmp_path / "net" / "supervisor.json").exists()
    supervisor.record()
    assert read_json(tmp_path / "net" / "supervisor.json")["pid"] == os.getpid()


def test_it_says_what_it_waits_for_and_counts_its_children(supervisor) -> None:
    registry = build_registry("supervisor")
    SupervisorCollector(supervisor, registry)
    assert supervisor.why_not_ready() == ["STARTING: processes are being started"]
    supervisor._are_started = True
    assert supervisor.why_not_ready() == ["STARTING: the ledger has yet to learn where the nodes are"]
    supervisor.addresses_announced = True
    assert supervisor.why_not_ready() == []
    ledger = supervisor.children["ledger"]
    ledger.wanted, ledger.n_restarts, ledger.reasons = True, 2, ("CANNOT_START: no memory",)
    assert supervisor.why_not_ready() == ["ledger: CANNOT_START: no memory"]
    assert registry.get_sample_value("haulout_supervisor_process_ready", {"process": "node-4"}) == 0
    assert registry.get_sample_value("haulout_supervisor_restarts_total", {"process": "ledger"}) == 2


async def test_a_process_that_there_is_not_is_named(supervisor) -> None:
    with pytest.raises(InvalidField, match="'node-9' is not one of ledger"):
        await supervisor.stop_node("node-9")


def test_what_is_said_to_nodes_is_said_to_nodes_alone(tmp_path) -> None:
    arguments = ("--scrub-rate", "5")
    folder = NetworkFolder(tmp_path / "net")
    common = {"restart": True, "clock": SystemClock(), "transport": None}
    children = Supervisor(folder, Layout(31415, 2), node_arguments=arguments, **common).children
    with_them = [name for name, child in children.items() if tuple(child.command[-2:]) == arguments]
    assert with_them == ["node-0", "node-1"]
