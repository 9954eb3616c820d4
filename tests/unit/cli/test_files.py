"""Files as blobs."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from haulout.cli.files import open_blob, write_draft
from haulout.errors import InvalidField


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 100])
def test_what_is_written_is_mapped(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    with write_draft(path) as write:
        write(content[:100])
        write(content[100:])
    with open_blob(path) as data, data.mapped() as view:
        assert bytes(view) == content
        part = bytearray(len(content) // 2)
        data.read_into(len(content) // 4, memoryview(part))
        assert part == content[len(content) // 4 :][: len(part)]
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_missing_file_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="No such file"), open_blob(tmp_path / "file"):
        pass


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").touch()
    with pytest.raises(InvalidField, match="cannot be written"), write_draft(tmp_path / "out") as write:
        write(b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("path", ["/dev/zero", "/proc/self/status"])
def test_what_has_content_and_no_size_is_not_taken_for_an_empty_blob(path: str) -> None:
    with pytest.raises(InvalidField, match="does not say how long it is; copy it into a file"), open_blob(Path(path)):
        pass


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    path, got = tmp_path / "pipe", bytearray()
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.extend(path.read_bytes()))
    reader.start()
    with write_draft(path) as write:
        write(b"ab" * 100_000)
    reader.join()
    assert got == b"ab" * 100_000
    assert path.is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_what_a_link_names_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    with write_draft(tmp_path / "link") as write:
        write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"x"


def test_errors_of_the_body_are_not_the_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with pytest.raises(KeyError), open_blob(path):
        raise KeyError
