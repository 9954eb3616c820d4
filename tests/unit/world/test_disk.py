"""What `FileDisk` does with this machine's files, beyond the contract."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from haulout.errors import DiskFull
from haulout.observability.metrics import DISK_OPERATIONS, build_registry, count_disk_errors
from haulout.world.disk import TEMPORARY_MARK, FileDisk
from haulout.world.errors import NoSuchFile, StorageFailed


@pytest.fixture
def disk(tmp_path: Path):
    opened = FileDisk(tmp_path / "disk")
    yield opened
    opened.close()


async def test_left_over_temporary_files_are_removed_at_the_start(tmp_path):
    (tmp_path / "disk" / "a").mkdir(parents=True)
    (tmp_path / "disk" / "a" / f"x{TEMPORARY_MARK}7").write_bytes(b"half")
    (tmp_path / "disk" / "a" / "y").write_bytes(b"whole")
    disk = FileDisk(tmp_path / "disk")
    assert [p.name for p in (tmp_path / "disk" / "a").iterdir()] == ["y"]
    disk.close()


class _FailingSyncs:
    """Syscalls of this machine with one that fails: what a full or dying volume does."""

    def __init__(self, code: int) -> None:
        self.code = code

    def __call__(self, descriptor: int) -> None:
        raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_volume_leaves_no_half_file(disk, tmp_path, monkeypatch, code):
    await disk.write_atomic("a/kept", [b"old"])
    monkeypatch.setattr(os, "fsync", _FailingSyncs(code))
    with pytest.raises(DiskFull):
        await disk.write_atomic("a/kept", [b"new"])
    with pytest.raises(DiskFull):
        await disk.write_atomic("a/fresh", [b"new"])
    monkeypatch.undo()
    assert await disk.read("a/kept") == b"old"
    assert [p.name for p in (tmp_path / "disk" / "a").iterdir()] == ["kept"]


async def test_a_volume_that_really_fills_up_is_disk_full(tmp_path):
    """/dev/full refuses every byte; the root is a link to it, so the write itself fails."""
    disk = FileDisk(tmp_path / "disk")
    with pytest.raises(DiskFull):
        await disk.write("x", _chunks_into_a_full_volume())
    assert await disk.list("") == []
    disk.close()


def _chunks_into_a_full_volume():
    yield b"first"
    with Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"second")


async def test_what_the_medium_refuses_is_told_and_what_a_caller_gets_wrong_is_not(tmp_path, monkeypatch):
    registry = build_registry("node")
    disk = FileDisk(tmp_path / "disk", on_error=count_disk_errors(registry))
    await disk.write("x", [b"1"])
    with pytest.raises(NoSuchFile):
        await disk.read("y")
    with pytest.raises(DiskFull):
        await disk.write("z", _chunks_into_a_full_volume())
    monkeypatch.setattr(os, "fsync", _FailingSyncs(errno.EIO))
    with pytest.raises(StorageFailed):
        await disk.sync(["x"])
    monkeypatch.undo()
    counted = {
        name: registry.get_sample_value("haulout_disk_errors_total", {"operation": name}) for name in DISK_OPERATIONS
    }
    assert {name: n for name, n in counted.items() if n} == {"write": 1, "sync": 1}
    assert counted["read"] == 0
    disk.close()


async def test_a_failed_sync_is_fatal_not_full(disk, monkeypatch):
    await disk.write("x", [b"1"])
    monkeypatch.setattr(os, "fsync", _FailingSyncs(errno.EIO))
    with pytest.raises(StorageFailed) as caught:
        await disk.sync(["x"])
    assert caught.value.operation == "sync"


async def test_a_batch_syncs_each_file_once_and_each_folder_once(disk, tmp_path, monkeypatch):
    paths = [f"blob/{n}" for n in range(5)]
    for path in paths:
        await disk.write(path, [b"x"])
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda d: (synced.append(Path(f"/proc/self/fd/{d}").readlink().name), real(d))[1])
    await disk.sync(paths)
    assert sorted(synced) == ["0", "1", "2", "3", "4", "blob"]


async def test_an_atomic_write_syncs_the_file_before_its_name(disk, monkeypatch):
    steps = []
    real_sync, real_rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda d: (steps.append("sync"), real_sync(d))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (steps.append("rename"), real_rename(a, b))[1])
    await disk.write_atomic("x", [b"1"])
    assert steps == ["sync", "rename", "sync"]


async def test_a_folder_is_not_a_file(disk):
    await disk.write("folder/x", [b"1"])
    with pytest.raises(NoSuchFile):
        await disk.read("folder")
    assert await disk.size("folder") is None
