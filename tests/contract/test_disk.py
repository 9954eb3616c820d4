"""What every `Disk` promises (`haulout.ports.Disk`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from haulout.errors import InvalidInput, NotFound
from haulout.ports import Disk


@pytest.fixture
def play(disk_case: Any, tmp_path: Path) -> Callable[[Callable[[Disk], Awaitable[None]]], None]:
    """Runs a story with an open disk and lets go of it."""

    def run(story: Callable[[Disk], Awaitable[None]]) -> None:
        async def whole() -> None:
            disk = disk_case.open(tmp_path)
            try:
                await story(disk)
            finally:
                disk_case.close(disk)

        disk_case.run(whole())

    return run


def test_reads_what_was_written_in_chunks_of_any_buffer_type(play):
    async def story(disk: Disk) -> None:
        assert await disk.write("a/b/c", [b"one", bytearray(b"two"), memoryview(b"three")]) == 11
        assert await disk.read("a/b/c") == b"onetwothree"
        assert await disk.size("a/b/c") == 11

    play(story)


def test_an_empty_file_is_a_file(play):
    async def story(disk: Disk) -> None:
        assert await disk.write("empty", []) == 0
        assert await disk.size("empty") == 0
        assert await disk.read("empty") == b""
        assert await disk.list("") == ["empty"]

    play(story)


def test_reads_a_part_and_is_short_at_the_end(play):
    async def story(disk: Disk) -> None:
        await disk.write("f", [b"0123456789"])
        assert await disk.read("f", offset=3) == b"3456789"
        assert await disk.read("f", offset=3, length=2) == b"34"
        assert await disk.read("f", offset=8, length=100) == b"89"
        assert await disk.read("f", offset=50, length=1) == b""
        assert await disk.read("f", length=0) == b""

    play(story)


@pytest.mark.parametrize("method", ["write", "write_atomic"])
def test_writing_again_replaces_the_whole_file(play, method):
    async def story(disk: Disk) -> None:
        await getattr(disk, method)("f", [b"a long first version"])
        assert await getattr(disk, method)("f", [b"short"]) == 5
        assert await disk.read("f") == b"short"
        assert await disk.list("") == ["f"]

    play(story)


@pytest.mark.parametrize("method", ["write", "write_atomic"])
def test_a_source_that_fails_leaves_the_old_file_and_nothing_else(play, method):
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("the source broke")

    async def story(disk: Disk) -> None:
        await disk.write("kept", [b"old"])
        for path in ("kept", "fresh"):
            with pytest.raises(RuntimeError, match="the source broke"):
                await getattr(disk, method)(path, broken())
        assert await disk.read("kept") == b"old"
        assert await disk.size("fresh") is None
        assert await disk.list("") == ["kept"]

    play(story)


def test_absent_files_are_not_found_or_none(play):
    async def story(disk: Disk) -> None:
        with pytest.raises(NotFound):
            await disk.read("nothing")
        with pytest.raises(NotFound):
            await disk.read("no/such/folder")
        assert await disk.size("nothing") is None
        assert await disk.list("no/such") == []
        await disk.remove(["nothing", "no/such/file"])
        with pytest.raises(NotFound):
            await disk.sync(["nothing"])

    play(story)


def test_lists_files_below_a_folder_in_order(play):
    async def story(disk: Disk) -> None:
        for path in ("b/2", "b/1", "b/c/3", "a", "bb/4"):
            await disk.write(path, [b"x"])
        assert await disk.list("") == ["a", "b/1", "b/2", "b/c/3", "bb/4"]
        assert await disk.list("b") == ["b/1", "b/2", "b/c/3"]
        assert await disk.list("b/") == ["b/1", "b/2", "b/c/3"]

    play(story)


def test_removed_files_are_gone_and_others_stay(play):
    async def story(disk: Disk) -> None:
        for path in ("d/1", "d/2", "d/3"):
            await disk.write(path, [b"x"])
        await disk.sync(["d/1", "d/2", "d/3"])
        await disk.remove(["d/1", "d/3", "d/never"])
        assert await disk.list("") == ["d/2"]

    play(story)


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/etc/passwd", "a//b", ".", "..", "a/./b", "", "a\0b", "a/", "\\x", "x" * 5000]
)
def test_refuses_paths_that_leave_the_folder_or_are_no_names(play, path):
    async def story(disk: Disk) -> None:
        with pytest.raises(InvalidInput):
            await disk.write(path, [b"x"])
        with pytest.raises(InvalidInput):
            await disk.read(path)
        with pytest.raises(InvalidInput):
            await disk.remove([path])
        assert await disk.list("") == []

    play(story)


def test_knows_how_much_is_free(play):
    async def story(disk: Disk) -> None:
        assert await disk.free_bytes() > 0

    play(story)
