"""`haulout blob-id`, `encode`, `decode`: the codec on files, with no network.

`encode` makes a folder, `decode` gives the file back from whatever of it is left::

    OUT/metadata.bcs          blob id and metadata (BCS)
    OUT/primary/0000.bcs …    the primary sliver of each pair (BCS), named by pair index
    OUT/secondary/0000.bcs …  the secondary sliver of each pair

Results are written under another name and renamed when they are whole, so a cancelled command leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from haulout.cli.output import print_json
from haulout.errors import Corrupt, DiskFull, HauloutError, InvalidField, NotFound
from haulout.primitives import Axis, BlobId, EncodingType, blob_id_text, pair_of_sliver_index, sliver_index_of_pair

if TYPE_CHECKING:
    from haulout.codec import BlobMetadata, EncodedBlob, Sliver

METADATA_FILE = "metadata.bcs"
_SLIVER_FILE = re.compile(r"([0-9]{4})\.bcs")

FILE_ARGUMENT = typer.Argument(..., metavar="FILE", help="The file to read.", show_default=False)
FOLDER_ARGUMENT = typer.Argument(..., metavar="DIR", help="A folder that `encode` made.", show_default=False)
N_SHARDS_OPTION = typer.Option(..., "--n-shards", help="Shards of the network; 4 to 1000.", show_default=False)
ENCODING_OPTION = typer.Option("RS2", "--encoding", help="RS2.")
OUT_FOLDER_OPTION = typer.Option(..., "--out", metavar="DIR", help="Folder to make.", show_default=False)
OUT_FILE_OPTION = typer.Option(..., "--out", metavar="FILE", help="File to write.", show_default=False)
STRICT_OPTION = typer.Option(False, "--strict", help="Encode the result again and compare the blob id.")
JSON_OPTION = typer.Option(False, "--json", help="Answer in JSON.")


@dataclass(eq=False)
class NoMetadata(NotFound):
    """A folder without the file that everything else is checked against."""

    code = "METADATA_FILE_NOT_FOUND"
    template = "{folder} holds no {file_name}"
    hint = "name a folder that `haulout encode` made"
    folder: str
    file_name: str


@dataclass(eq=False)
class DamagedMetadata(Corrupt):
    """Metadata that does not decode or does not hash to the id beside it."""

    code = "METADATA_FILE_DAMAGED"
    template = "{path} is damaged: {problem}"
    hint = "without it no sliver can be checked; copy it from where the blob was encoded or stored"
    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was not used, and why."""

    file: str  # relative to the folder
    problem: str


@dataclass(slots=True)
class Found:
    """Verified slivers of one axis, ascending by sliver index."""

    axis: Axis
    needed: int
    slivers: list[Sliver] = field(default_factory=list)

    @property
    def is_enough(self) -> bool:
        """Whether they decode the blob."""
        return len(self.slivers) >= self.needed


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("blob-id")(blob_id)
    app.command("encode")(encode)
    app.command("decode")(decode)


# --- the commands -------------------------------------------------------------------------------------------


def blob_id(
    file: Path = FILE_ARGUMENT,
    n_shards: int = N_SHARDS_OPTION,
    encoding: str = ENCODING_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Compute the blob id of a file without storing it."""
    from haulout import codec

    encoding_type = EncodingType.parse(encoding)
    data = read_blob(file, n_shards, encoding_type)
    load_kernels_for_command(len(data))
    _, metadata = codec.compute_blob_id(data, n_shards, encoding=encoding_type)
    _answer({**describe(metadata), "file": str(file)}, as_json=as_json)


def encode(
    file: Path = FILE_ARGUMENT,
    n_shards: int = N_SHARDS_OPTION,
    out: Path = OUT_FOLDER_OPTION,
    encoding: str = ENCODING_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Encode a file into a folder of metadata and sliver pairs."""
    from haulout import codec

    encoding_type = EncodingType.parse(encoding)
    check_folder_is_free(out)
    data = read_blob(file, n_shards, encoding_type)
    load_kernels_for_command(len(data))
    encoded = codec.encode_blob(data, n_shards, encoding=encoding_type)
    write_folder(encoded, out)
    _answer({**describe(encoded.metadata), "file": str(file), "out": str(out)}, as_json=as_json)


def decode(
    folder: Path = FOLDER_ARGUMENT,
    out: Path = OUT_FILE_OPTION,
    strict: bool = STRICT_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Decode a file from what is left of a folder that `encode` made."""
    from haulout import codec

    if out.is_dir():
        raise InvalidField(field="--out", problem=f"{out} is a folder")
    metadata = read_metadata(folder)
    load_kernels_for_command(metadata.unencoded_length)
    skipped: list[Skipped] = []
    try:
        found = find_slivers(folder, metadata, skipped)
    finally:
        if not as_json:
            for one in skipped:
                sys.stderr.write(f"haulout: skipped {one.file}: {one.problem}\n")
    check = codec.ConsistencyCheck.STRICT if strict else codec.ConsistencyCheck.DEFAULT
    data = codec.decode_blob(metadata, found.slivers, found.axis, check=check, verified=True)
    write_file(out, data)
    document = {
        **describe(metadata),
        "file": str(out),
        "decodedFrom": found.axis.name.lower(),
        "skipped": [{"file": one.file, "problem": one.problem} for one in skipped],
    }
    _answer(document, as_json=as_json)


# --- what they are made of ----------------------------------------------------------------------------------


def load_kernels_for_command(size_bytes: int) -> None:
    """Native kernels if so many bytes are worth the second or more that it takes to get them."""
    from haulout.world.kernels import KernelSettings, load_kernels_for

    load_kernels_for(KernelSettings.of(os.environ), size_bytes)


def describe(metadata: BlobMetadata) -> dict[str, Any]:
    """What the JSON answers say of a blob."""
    from haulout.codec import sizes

    length, n_shards, encoding = metadata.unencoded_length, metadata.n_shards, metadata.encoding_type
    return {
        "blobId": blob_id_text(metadata.blob_id()),
        "rootHash": metadata.root_hash().hex(),
        "unencodedLength": length,
        "encodedLength": sizes.encoded_length(length, n_shards, encoding),
        "symbolSize": metadata.symbol_size_bytes,
        "nShards": n_shards,
        "encodingType": encoding.name,
    }


def read_blob(file: Path, n_shards: int, encoding: EncodingType) -> bytes:
    """The bytes of a file, unless the network could not hold them: that is found out before reading.

    Raises:
        InvalidField: not a readable file, or no such network.
        ShardCountOutOfRange, BlobTooLarge: with the limit.
    """
    from haulout.codec import sizes

    sizes.check_shard_count(n_shards, encoding)
    try:
        sizes.symbol_size_bytes(file.stat().st_size, n_shards, encoding)
        return file.read_bytes()
    except OSError as e:
        raise InvalidField(field="FILE", problem=f"cannot read {file}: {e.strerror}") from e


def check_folder_is_free(out: Path) -> None:
    """Refuse to write into something that is already there.

    Raises:
        InvalidField: a file, or a folder that is not empty.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InvalidField(field="--out", problem=f"{out} is already there and not an empty folder")
    except OSError as e:
        raise InvalidField(field="--out", problem=f"cannot look into {out}: {e.strerror}") from e


def write_folder(encoded: EncodedBlob, out: Path) -> None:
    """Write metadata and all sliver pairs; `out` appears when everything is in it.

    Raises:
        InvalidField: it cannot be written there.
        DiskFull: nothing is left behind.
    """
    from haulout import bcs
    from haulout.codec import BlobMetadataWithId

    with _writing(out):
        partial = _partial_name(out)
        try:
            partial.mkdir(parents=True)
            (partial / METADATA_FILE).write_bytes(bcs.encode(BlobMetadataWithId(encoded.blob_id, encoded.metadata)))
            for axis in Axis:
                (partial / axis.name.lower()).mkdir()
                for pair_index in range(encoded.metadata.n_shards):
                    with (partial / sliver_path(axis, pair_index)).open("wb") as file:
                        file.writelines(encoded.pair(pair_index).of(axis).bcs_chunks())
            partial.replace(out)
        except BaseException:  # a cancel as well: no half folder stays
            shutil.rmtree(partial, ignore_errors=True)
            raise


def sliver_path(axis: Axis, pair_index: int) -> str:
    """Where a sliver stands in the folder."""
    return f"{axis.name.lower()}/{pair_index:04d}.bcs"


def read_metadata(folder: Path) -> BlobMetadata:
    """The metadata in a folder, checked against the blob id beside it.

    Raises:
        NoMetadata: there is none.
        DamagedMetadata: it is not what it says.
    """
    from haulout import bcs, codec

    path = folder / METADATA_FILE
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise NoMetadata(folder=str(folder), file_name=METADATA_FILE) from e
    try:
        found: codec.BlobMetadataWithId = bcs.decode(codec.BlobMetadataWithId, raw)
        codec.verify_metadata(found.metadata, BlobId(found.blob_id), found.metadata.n_shards)
    except HauloutError as e:
        raise DamagedMetadata(path=str(path), problem=str(e)) from e
    return found.metadata


def find_slivers(folder: Path, metadata: BlobMetadata, skipped: list[Skipped]) -> Found:
    """Enough verified slivers of one axis; primary ones first, since the systematic ones need no arithmetic.

    Args:
        skipped: gets every file that was looked at and could not be used.

    Raises:
        NotEnoughSlivers: of the axis that lacks fewer.
    """
    from haulout.codec.errors import NotEnoughSlivers

    tried = []
    for axis in Axis:
        found = find_slivers_of(folder, metadata, axis, skipped)
        if found.is_enough:
            return found
        tried.append(found)
    best = min(tried, key=lambda found: found.needed - len(found.slivers))
    raise NotEnoughSlivers(axis=best.axis.name.lower(), got=len(best.slivers), needed=best.needed)


def find_slivers_of(folder: Path, metadata: BlobMetadata, axis: Axis, skipped: list[Skipped]) -> Found:
    """Verified slivers of one axis, until there are enough; no more of them than that are in memory."""
    from haulout.codec import sizes
    from haulout.codec.verify import compute_sliver_hashes

    found = Found(axis, sizes.n_source_symbols(axis, metadata.n_shards))
    paths = iter(_sliver_files(folder, axis, metadata.n_shards, skipped))
    exhausted = False
    while not found.is_enough and not exhausted:
        loaded: list[tuple[str, Sliver]] = []
        while len(found.slivers) + len(loaded) < found.needed:
            path = next(paths, None)
            if path is None:
                exhausted = True
                break
            sliver = _load_sliver(folder / path, path, metadata, axis, skipped)
            if sliver is not None:
                loaded.append((path, sliver))
        roots = compute_sliver_hashes(metadata, axis, [sliver for _, sliver in loaded])
        for (path, sliver), root in zip(loaded, roots, strict=True):
            if root == metadata.sliver_hash(axis, sliver.index):
                found.slivers.append(sliver)
            else:
                skipped.append(Skipped(path, "damaged: it does not match its hash in the metadata"))
    return found


def write_file(out: Path, data: memoryview) -> None:
    """Write a file; it appears, or replaces what was there, when it is whole.

    Raises:
        InvalidField: it cannot be written there.
        DiskFull: nothing is left behind.
    """
    with _writing(out):
        partial = _partial_name(out)
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            partial.replace(out)
        except BaseException:  # a cancel as well: no half file stays
            partial.unlink(missing_ok=True)
            raise


def _partial_name(out: Path) -> Path:
    """Where a result is until it is whole: hidden, beside its place."""
    whole = out.resolve()
    return whole.with_name(f".{whole.name}.{os.getpid()}.partial")


def _sliver_files(folder: Path, axis: Axis, n_shards: int, skipped: list[Skipped]) -> list[str]:
    """Names of the sliver files of an axis, ascending by sliver index."""
    room = folder / axis.name.lower()
    names = sorted(path.name for path in room.iterdir()) if room.is_dir() else []
    indices = []
    for name in names:
        match = _SLIVER_FILE.fullmatch(name)
        if match is None or int(match[1]) >= n_shards:
            skipped.append(Skipped(f"{room.name}/{name}", "not the name of a sliver of this blob"))
        else:
            indices.append(int(sliver_index_of_pair(int(match[1]), axis, n_shards)))
    return [sliver_path(axis, pair_of_sliver_index(index, axis, n_shards)) for index in sorted(indices)]


def _load_sliver(path: Path, name: str, metadata: BlobMetadata, axis: Axis, skipped: list[Skipped]) -> Sliver | None:
    """The sliver in a file if its shape is right; otherwise it is reported."""
    from haulout import bcs
    from haulout.codec import Sliver
    from haulout.codec.verify import check_sliver_shape

    try:
        sliver: Sliver = bcs.decode(Sliver, path.read_bytes())
        check_sliver_shape(metadata, axis, sliver)
    except OSError as e:
        skipped.append(Skipped(name, f"cannot be read: {e.strerror}"))
        return None
    except HauloutError as e:
        skipped.append(Skipped(name, f"damaged: {e}"))
        return None
    expected = sliver_path(axis, pair_of_sliver_index(sliver.index, axis, metadata.n_shards))
    if expected != name:
        skipped.append(Skipped(name, f"it says that it is {expected}"))
        return None
    return sliver


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno == errno.ENOSPC:
            raise DiskFull(path=str(out.parent)) from e
        raise InvalidField(field="--out", problem=f"cannot write {out}: {e.strerror}") from e


def _answer(document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    labels = {
        "blobId": "blob id",
        "rootHash": "root hash",
        "unencodedLength": "bytes",
        "encodedLength": "bytes on all shards",
        "symbolSize": "bytes per symbol",
        "nShards": "shards",
        "encodingType": "encoding",
        "decodedFrom": "decoded from slivers",
        "out": "written to",
    }
    for key, label in labels.items():
        if key in document:
            typer.echo(
                f"{label:<21}{document[key]:,}" if isinstance(document[key], int) else f"{label:<21}{document[key]}"
            )
