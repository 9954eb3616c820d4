"""`blob-id`, `encode`, `decode`: answers, and folders that are damaged, truncated, foreign or half there."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from haulout import codec
from haulout.cli import offline
from haulout.codec.errors import NotEnoughSlivers, ShardCountOutOfRange
from haulout.errors import BlobTooLarge, DiskFull, HauloutError, InvalidField
from haulout.primitives import EncodingType

DATA = b"walrus blob id v1 regression test"
BLOB_ID = "RcU82Mwf-CFkv1LaI_2qcpANwpGUuG3TMwnVzZxD2kY"
ROOT_HASH = "dc3457c94140737f55ccfba619f79c96928f3845da745142c7c8e23396eedf88"

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run() -> Run:
    app = typer.Typer()
    offline.register(app)

    def call(*arguments: object) -> dict[str, Any]:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments] + ["--json"])
        if result.exception is not None:
            raise result.exception
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    return call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def folder(run: Run, file: Path, tmp_path: Path) -> Path:
    out = tmp_path / "encoded"
    run("encode", file, "--n-shards", 10, "--out", out)
    return out


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_blob_id(run: Run, file: Path) -> None:
    assert run("blob-id", file, "--n-shards", 10) == {
        "blobId": BLOB_ID,
        "rootHash": ROOT_HASH,
        "unencodedLength": 33,
        "encodedLength": 6940,
        "symbolSize": 2,
        "nShards": 10,
        "encodingType": "RS2",
        "file": str(file),
    }


def test_people_get_lines(file: Path) -> None:
    app = typer.Typer()
    offline.register(app)
    result = CliRunner().invoke(app, ["blob-id", str(file), "--n-shards", "10"])
    assert result.exit_code == 0
    assert f"blob id              {BLOB_ID}\n" in result.stdout
    assert "bytes on all shards  6,940\n" in result.stdout


def test_folder_holds_every_sliver_by_pair(folder: Path) -> None:
    pairs = [f"{axis}/{pair:04d}.bcs" for axis in ("primary", "secondary") for pair in range(10)]
    assert names(folder) == sorted(["metadata.bcs", "primary", "secondary", *pairs])
    encoded = codec.encode_blob(DATA, 10)
    assert (folder / "metadata.bcs").read_bytes() == encoded.blob_id + encoded.metadata.to_bcs()
    # sliver index 9 stands with pair 0 on the secondary axis
    assert (folder / "secondary/0000.bcs").read_bytes()[-2:] == b"\x09\x00"


def test_decodes_what_it_encoded(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "again" / "file"
    document = run("decode", folder, "--out", out, "--strict")
    assert out.read_bytes() == DATA
    assert (document["blobId"], document["decodedFrom"], document["skipped"]) == (BLOB_ID, "primary", [])
    out.write_bytes(b"something longer that is replaced as a whole")
    run("decode", folder, "--out", out)
    assert out.read_bytes() == DATA
    assert names(out.parent) == ["file"]


def test_decodes_from_the_secondary_slivers_alone(run: Run, folder: Path, tmp_path: Path) -> None:
    for pair in range(10):
        (folder / f"primary/{pair:04d}.bcs").unlink()
    for pair in (2, 5, 9):
        (folder / f"secondary/{pair:04d}.bcs").unlink()
    document = run("decode", folder, "--out", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert document["decodedFrom"] == "secondary"


def test_skips_and_reports_what_is_damaged_truncated_or_foreign(run: Run, folder: Path, tmp_path: Path) -> None:
    primary = folder / "primary"
    raw = bytearray((primary / "0000.bcs").read_bytes())
    raw[3] ^= 1
    (primary / "0000.bcs").write_bytes(raw)
    (primary / "0001.bcs").write_bytes((primary / "0001.bcs").read_bytes()[:-3])
    (primary / "0002.bcs").write_bytes((primary / "0003.bcs").read_bytes())
    (primary / "0004.bcs").write_bytes(b"")
    (primary / "0005.bcs").unlink()
    (primary / "0005.bcs").mkdir()
    (primary / "notes.txt").write_text("not a sliver")
    (primary / "0010.bcs").write_text("no such pair")
    document = run("decode", folder, "--out", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    problems = {one["file"]: one["problem"] for one in document["skipped"]}
    assert set(problems) == {
        f"primary/{name}"
        for name in ("0000.bcs", "0001.bcs", "0002.bcs", "0004.bcs", "0005.bcs", "notes.txt", "0010.bcs")
    }
    assert "hash" in problems["primary/0000.bcs"]
    assert "damaged" in problems["primary/0001.bcs"]
    assert "0003" in problems["primary/0002.bcs"]
    assert "read" in problems["primary/0005.bcs"]


def test_too_few_slivers_is_an_error_with_numbers(run: Run, folder: Path, tmp_path: Path) -> None:
    for pair in range(3, 10):
        (folder / f"primary/{pair:04d}.bcs").unlink()
    for pair in range(2, 10):
        (folder / f"secondary/{pair:04d}.bcs").unlink()
    with pytest.raises(NotEnoughSlivers) as caught:
        run("decode", folder, "--out", tmp_path / "file")
    assert (caught.value.axis, caught.value.got, caught.value.needed) == ("primary", 3, 4)
    assert not (tmp_path / "file").exists()


def test_no_folders_at_all_is_the_same_error(run: Run, folder: Path, tmp_path: Path) -> None:
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    (folder / "metadata.bcs").rename(lonely / "metadata.bcs")
    with pytest.raises(NotEnoughSlivers):
        run("decode", lonely, "--out", tmp_path / "file")


@pytest.mark.parametrize("spoil", [lambda raw: raw[:-1], lambda raw: b"\x00" + raw[1:], lambda raw: b""])
def test_damaged_metadata_is_an_error(run: Run, folder: Path, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = folder / "metadata.bcs"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(offline.DamagedMetadata):
        run("decode", folder, "--out", tmp_path / "file")


def test_missing_metadata_is_an_error(run: Run, tmp_path: Path) -> None:
    with pytest.raises(offline.NoMetadata):
        run("decode", tmp_path / "nowhere", "--out", tmp_path / "file")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--n-shards", "3"], ShardCountOutOfRange),
        (["--n-shards", "10", "--encoding", "RS9"], InvalidField),
        (["--n-shards", "256", "--encoding", "RS8"], ShardCountOutOfRange),
    ],
)
def test_refuses_networks_and_encodings(
    run: Run, file: Path, tmp_path: Path, arguments: list[str], error: type[HauloutError]
) -> None:
    with pytest.raises(error):
        run("blob-id", file, *arguments)
    with pytest.raises(error):
        run("encode", file, "--out", tmp_path / "out", *arguments)
    assert names(tmp_path) == ["blob"]


def test_a_file_beyond_the_limit_is_refused_before_it_is_read(run: Run, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(1 << 40)
    for options in (("--n-shards", 10, "--encoding", "RS2"), ("--n-shards", 300)):
        with pytest.raises(BlobTooLarge):
            run("blob-id", sparse, *options)


def test_refuses_files_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(InvalidField, match="cannot read"):
            run("blob-id", path, "--n-shards", 10)


def test_what_has_no_size_is_not_taken_for_an_empty_file(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="does not say how long it is"):
        run("blob-id", "/dev/zero", "--n-shards", 10)
    assert run("blob-id", "/dev/null", "--n-shards", 10)["unencodedLength"] == 0


def test_a_pipe_or_a_device_is_not_replaced_by_a_file(run: Run, folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidField, match="is no file"):
        run("decode", folder, "--out", tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_does_not_write_over_a_folder_or_file(run: Run, file: Path, folder: Path, tmp_path: Path) -> None:
    for taken in (folder, file):
        with pytest.raises(InvalidField, match="already there"):
            run("encode", file, "--n-shards", 10, "--out", taken)
    with pytest.raises(InvalidField, match="cannot write"):
        run("encode", file, "--n-shards", 10, "--out", file / "below")
    with pytest.raises(InvalidField, match="is a folder"):
        run("decode", folder, "--out", tmp_path)
    with pytest.raises(InvalidField, match="cannot write"):
        run("decode", folder, "--out", file / "below")


def test_fills_an_empty_folder(run: Run, file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run("encode", file, "--n-shards", 4, "--out", tmp_path / "empty")
    assert (tmp_path / "empty" / "metadata.bcs").exists()


@pytest.mark.parametrize(("failure", "error"), [(KeyboardInterrupt(), None), (OSError(28, "No space left"), DiskFull)])
def test_a_cancel_or_a_full_disk_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
    file: Path,
    folder: Path,
    tmp_path: Path,
    failure: BaseException,
    error: type[Exception] | None,
) -> None:
    metadata = offline.read_metadata(folder)
    found = offline.find_slivers(folder, metadata, [])
    before = names(tmp_path)

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(Path, "replace", fail)
    for write in (
        lambda: offline.encode_file(file, len(DATA), 10, EncodingType.RS2, tmp_path / "out"),
        lambda: offline.decode_file(folder, metadata, found, codec.ConsistencyCheck.STRICT, tmp_path / "out"),
    ):
        with pytest.raises(error or KeyboardInterrupt):
            write()
        assert names(tmp_path) == before


def test_striped_files_go_there_and_back(run: Run, tmp_path: Path) -> None:
    size = 2 * 3 * 16384 + 5  # two stripes with four shards
    path = tmp_path / "blob"
    path.write_bytes(bytes(range(251)) * (size // 251 + 1))
    encoded = run("encode", path, "--n-shards", 4, "--encoding", "RS8", "--out", tmp_path / "out")
    assert encoded["blobId"] == run("blob-id", path, "--n-shards", 4, "--encoding", "RS8")["blobId"]
    (tmp_path / "out/primary/0000.bcs").unlink()
    decoded = run("decode", tmp_path / "out", "--out", tmp_path / "again", "--strict")
    assert decoded["encodingType"] == "RS8"
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_registering_the_commands_imports_nothing_heavy() -> None:
    code = "import sys, haulout.cli.offline; sys.exit(bool({'numpy', 'cryptography', 'asyncio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
