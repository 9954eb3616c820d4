"""The supervisor's own part: what it writes down, and that it goes on when it cannot."""

from __future__ import annotations

import errno
import os

import pytest

from haulout.embedded.folder import NetworkFolder, read_json
from haulout.embedded.layout import Layout
from haulout.embedded.supervisor import Supervisor
from haulout.errors import InvalidField
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


async def test_a_process_that_there_is_not_is_named(supervisor) -> None:
    with pytest.raises(InvalidField, match="'node-9' is not one of ledger"):
        await supervisor.stop_node("node-9")
