"""Ending a network that listens, one that does not, and what a dead supervisor has left: real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from haulout.cli.main import main
from haulout.embedded import ending
from haulout.embedded.ending import Ended, NotOurNetwork, ProcessStuck, end_network, end_orphans, is_ours
from haulout.embedded.folder import NetworkFolder, NetworkShape, write_json

SUPERVISOR = """
import signal, sys, time
from pathlib import Path
from haulout.embedded.folder import NetworkFolder
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with NetworkFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""
CHILD = "import sys, time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def folder(tmp_path):
    folder = NetworkFolder(tmp_path / "net")
    folder.save_shape(NetworkShape(format=1, chain_id="0x" + "ab" * 32, n_nodes=5, n_shards=100, port_base=31415))
    return folder


@pytest.fixture
def start(folder):
    """Starts a program with the folder on its command line; it has said something when this returns."""
    started = []

    def run(program: str, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(folder.root), *arguments], stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline()
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def end(folder) -> tuple[Ended, list[list[str]]]:
    waits: list[list[str]] = []
    return end_network(folder, on_wait=lambda names: waits.append(list(names))), waits


@pytest.fixture
def impatient(monkeypatch):
    for name in ("QUIET_S", "ASKED_PATIENCE_S"):
        monkeypatch.setattr(ending, name, 0.2)


def test_a_supervisor_that_listens_is_asked(folder, start) -> None:
    process = start(SUPERVISOR)
    assert end(folder) == (Ended.STOPPED, [])
    assert process.wait(5) == -signal.SIGTERM
    assert end(folder) == (Ended.NOT_RUNNING, [])


def test_one_that_goes_at_once_leaves_nobody_running(folder, start) -> None:
    supervisor, child = start(SUPERVISOR), start(CHILD)
    write_json(folder.supervisor_file, {"pid": supervisor.pid, "children": {"node-0": child.pid}})
    assert end(folder) == (Ended.ORPHANS, [])
    assert (supervisor.wait(5), child.wait(5)) == (-signal.SIGTERM, -signal.SIGKILL)


def test_one_that_hangs_is_killed_with_its_children_and_who_is_waited_for_is_told(folder, start, impatient) -> None:
    supervisor, child = start(SUPERVISOR, "deaf"), start(CHILD)
    write_json(folder.supervisor_file, {"pid": supervisor.pid, "children": {"node-0": child.pid}})
    began = time.monotonic()
    assert end(folder) == (Ended.KILLED, [["node-0"]])
    assert time.monotonic() - began < 5
    assert (supervisor.wait(5), child.wait(5)) == (-signal.SIGKILL, -signal.SIGKILL)
    assert not folder.supervisor_file.exists()


def test_one_that_is_frozen_is_killed(folder, start, impatient) -> None:
    supervisor = start(SUPERVISOR)
    os.kill(supervisor.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, supervisor.pid, os.WSTOPPED)
    assert end(folder)[0] is Ended.KILLED


def test_what_a_dead_supervisor_left_is_ended(folder, start) -> None:
    child = start(CHILD)
    write_json(folder.supervisor_file, {"pid": 1, "children": {"node-0": child.pid}})
    assert end(folder) == (Ended.ORPHANS, [])
    assert child.wait(5) == -signal.SIGKILL


def test_a_process_that_got_the_number_later_is_left_alone(folder) -> None:
    write_json(folder.supervisor_file, {"pid": 1, "children": {"node-0": os.getpid()}})
    assert not is_ours(os.getpid(), folder)
    assert not is_ours(2**22 + 1, folder)
    end_orphans(folder)
    assert not folder.supervisor_file.exists()


def test_one_that_cannot_even_be_killed_is_named(folder, start, impatient, monkeypatch) -> None:
    child = start(CHILD)
    write_json(folder.supervisor_file, {"pid": 1, "children": {"node-0": child.pid}})
    monkeypatch.setattr(ending, "KILLED_PATIENCE_S", 0.1)
    monkeypatch.setattr(os, "kill", lambda *_: None)
    with pytest.raises(ProcessStuck, match=f"process {child.pid} of the network"):
        end(folder)


def test_another_users_network_is_left_to_them(folder, start, monkeypatch) -> None:
    start(SUPERVISOR)

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    with pytest.raises(NotOurNetwork):
        end(folder)


def test_down_says_what_it_did(folder, start, impatient, capsys) -> None:
    def down(*more: str) -> tuple[str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["down", "--dir", str(folder.root), *more])
        assert ended.value.code == 0
        out, err = capsys.readouterr()
        return out, err

    start(SUPERVISOR, "deaf")
    _, err = down()
    assert "waiting for the supervisor to end" in err
    assert "killed; its data is whole" in err
    start(SUPERVISOR)
    assert json.loads(down("--json")[0]) == {"dir": str(folder.root), "stopped": True, "killed": False}
    assert json.loads(down("--json")[0]) == {"dir": str(folder.root), "stopped": False, "killed": False}
    assert "not running" in down()[1]
