"""The network folder: one supervisor at a time, files that are whole or old, and refusals that say what to do."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from haulout.embedded.folder import (
    FolderDamaged,
    FolderOfAnotherVersion,
    FolderUnusable,
    NetworkFolder,
    NetworkRunning,
    NetworkShape,
    NoNetwork,
    find_folder,
    read_json,
    write_json,
)
from haulout.errors import DiskFull

SHAPE = NetworkShape(format=1, chain_id="0x" + "ab" * 32, n_nodes=5, n_shards=100, port_base=31415)


@pytest.fixture
def folder(tmp_path):
    return NetworkFolder(tmp_path / "net")


def test_a_shape_is_read_back(folder) -> None:
    assert folder.load_shape() is None
    folder.save_shape(SHAPE)
    assert folder.require_shape() == SHAPE


def test_an_empty_folder_has_no_network(folder) -> None:
    with pytest.raises(NoNetwork, match="haulout up"):
        folder.require_shape()


def test_a_folder_of_another_version_is_left_alone(folder) -> None:
    folder.save_shape(SHAPE)
    document = read_json(folder.network_file) | {"format": 99, "new": 1}
    write_json(folder.network_file, document)
    with pytest.raises(FolderOfAnotherVersion, match="has format 99, this version reads 1"):
        folder.load_shape()
    assert read_json(folder.network_file) == document


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "\udcff", '{"format": 1}', '{"format": 1, "n_nodes": 5, "surprise": 1}'],
)
def test_a_file_that_does_not_read_is_named(folder, text) -> None:
    folder.root.mkdir()
    folder.network_file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(FolderDamaged, match=r"network\.json cannot be read"):
        folder.load_shape()


@pytest.mark.parametrize(("name", "value"), [("n_nodes", "5"), ("port_base", None), ("n_shards", 1.5), ("chain_id", 7)])
def test_a_field_of_another_type_is_named(folder, name, value) -> None:
    folder.save_shape(SHAPE)
    write_json(folder.network_file, read_json(folder.network_file) | {name: value})
    with pytest.raises(FolderDamaged, match=name):
        folder.load_shape()


def test_a_second_supervisor_is_refused_with_the_first_ones_process(folder) -> None:
    with folder.locked():
        assert folder.is_locked()
        assert folder.holder_pid() == os.getpid()
        with pytest.raises(NetworkRunning) as refused, folder.locked():
            pass
        assert refused.value.pid == os.getpid()
    assert not folder.is_locked()
    assert folder.holder_pid() == 0
    with folder.locked():
        pass


def test_a_supervisor_that_was_killed_holds_nothing(folder) -> None:
    program = (
        "import sys, time; from pathlib import Path; from haulout.embedded.folder import NetworkFolder\n"
        "with NetworkFolder(Path(sys.argv[1])).locked(): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(folder.root)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        assert folder.holder_pid() == process.pid
        process.kill()
    assert not folder.is_locked()
    assert folder.holder_pid() == 0


def test_asking_whether_it_runs_keeps_nobody_from_starting_it(folder) -> None:
    with folder.locked():
        pass
    end = threading.Event()

    def ask() -> None:
        while not end.is_set():
            folder.is_locked()

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            with folder.locked():
                pass
    finally:
        end.set()
        asker.join()


def test_asking_makes_no_folder(folder) -> None:
    assert not folder.is_locked()
    assert not folder.root.exists()


def test_a_file_in_the_folders_place(folder) -> None:
    folder.root.write_text("")
    with pytest.raises(FolderUnusable, match="--dir"), folder.locked():
        pass


def test_files_are_replaced_as_a_whole_and_secret_ones_are_the_owners(folder) -> None:
    path = folder.root / "wallet.json"
    write_json(path, {"a": 1}, mode=0o600)
    write_json(path, {"a": 2}, mode=0o600)
    assert json.loads(path.read_text()) == {"a": 2}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in folder.root.iterdir()] == ["wallet.json"]


def test_a_full_disk_leaves_the_old_file_and_no_draft(folder, monkeypatch) -> None:
    path = folder.root / "supervisor.json"
    write_json(path, {"a": 1})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="no space left"):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}
    assert [p.name for p in folder.root.iterdir()] == ["supervisor.json"]


def test_which_folder_a_command_means(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HAULOUT_DIR", raising=False)
    assert find_folder(None).root == tmp_path / ".haulout"
    monkeypatch.setenv("HAULOUT_DIR", str(tmp_path / "env"))
    assert find_folder(None).root == tmp_path / "env"
    assert find_folder(tmp_path / "option").root == tmp_path / "option"
