"""Power cuts under `FileDisk`, after every change it makes to names and every sync.

A model stands beside the real folder and is told of each rename, removal, new folder and sync. It knows what is
durable: the content of a file since its own sync, a name since the sync of its folder. After every step two disks
are looked at as they may come back: one that kept only what is durable, one that kept every name but of the
contents only what is durable. Promises are checked on both.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from haulout.world.disk import TEMPORARY_MARK, FileDisk

Content = bytes | None  # None: not there


@dataclass
class PowerModel:
    """What of a folder survives, and what was promised about it."""

    root: Path
    syncs_work: bool = True
    durable_names: dict[Path, int] = field(default_factory=dict)  # path -> inode, folders too
    durable_content: dict[int, bytes] = field(default_factory=dict)
    promised: dict[str, set[Content]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    steps: int = 0

    def synced(self, descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        if self.syncs_work and target.is_dir():
            self.durable_names = {p: i for p, i in self.durable_names.items() if p.parent != target}
            self.durable_names.update({child: child.stat().st_ino for child in target.iterdir()})
        elif self.syncs_work:
            self.durable_content[target.stat().st_ino] = target.read_bytes()
        self.look()

    def look(self) -> None:
        self.steps += 1
        on_disk = {path: path.stat().st_ino for path in self.root.rglob("*")}
        for names in (self.durable_names, on_disk):
            for path, allowed in self.promised.items():
                found = self._content(names, path)
                if found not in allowed:
                    self.problems.append(f"step {self.steps}: {path} is {found!r}, promised {allowed}")

    def _content(self, names: dict[Path, int], path: str) -> Content:
        target = self.root / path
        folders = [parent for parent in target.parents if self.root in parent.parents]
        if target not in names or any(folder not in names for folder in folders):
            return None
        return self.durable_content.get(names[target], b"torn")


@pytest.fixture(params=[True, False], ids=["syncs-work", "syncs-do-nothing"])
def model(request, tmp_path, monkeypatch):
    model = PowerModel(tmp_path / "disk", syncs_work=request.param)
    real = {"sync": os.fsync, "replace": Path.replace, "unlink": Path.unlink, "mkdir": Path.mkdir}

    def sync(descriptor: int) -> None:
        real["sync"](descriptor)
        model.synced(descriptor)

    def watch(name: str) -> None:
        def call(self: Path, *arguments, **options):
            result = real[name](self, *arguments, **options)
            model.look()
            return result

        monkeypatch.setattr(Path, name, call)

    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(os, "fsync", sync)
    for name in ("replace", "unlink", "mkdir"):
        watch(name)
    return model


async def test_what_was_acknowledged_survives_and_nothing_is_half_there(model):
    disk = FileDisk(model.root)
    versions: dict[str, Content] = {}

    async def write_atomic(path: str, content: bytes) -> None:
        model.promised[path] = {versions.get(path), content}
        await disk.write_atomic(path, [content[:3], content[3:]])
        model.promised[path] = {content}
        versions[path] = content

    async def write_batch(contents: dict[str, bytes]) -> None:
        for path, content in contents.items():
            await disk.write(path, [content])
        await disk.sync(list(contents))
        model.promised.update({path: {content} for path, content in contents.items()})
        model.look()

    await write_atomic("top", b"version 1")
    await write_atomic("a/b/c/deep", b"in three new folders")
    await write_atomic("top", b"version 2, longer than before")
    await write_batch({f"blob/{n}/{axis}": b"%d %s" % (n, axis.encode()) for n in range(3) for axis in ("x", "y")})
    await write_atomic("a/b/c/deep", b"again")
    await write_batch({"a/b/beside": b"a batch of one"})
    model.promised["top"] = {None, versions["top"]}
    await disk.remove(["top"])
    disk.close()

    assert model.steps > 40
    assert all(TEMPORARY_MARK not in path for path in await _names(model.root))
    if model.syncs_work:
        assert model.problems == []
    else:
        assert model.problems, "the check finds a disk that skips its syncs"


async def _names(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*")]
