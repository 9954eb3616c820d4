"""`haulout blob-id`, `encode`, `decode`: the codec on files, with no network.

`encode` makes a folder (`sliver_folder.py`), `decode` gives the file back from whatever of it is left. Files of any
size pass through a few hundred MiB of memory. Results are written under another name and renamed when they are whole,
so a cancelled command leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from haulout.cli.output import print_json
from haulout.errors import Corrupt, DiskFull, HauloutError, InvalidField, NotFound
from haulout.primitives import Axis, BlobId, EncodingType, blob_id_text, pair_of_sliver_index

if TYPE_CHECKING:
    from haulout.cli.sliver_folder import SliverFolder
    from haulout.codec import BlobMetadata, ConsistencyCheck

FILE_ARGUMENT = typer.Argument(..., metavar="FILE", help="The file to read.", show_default=False)
FOLDER_ARGUMENT = typer.Argument(..., metavar="DIR", help="A folder that `encode` made.", show_default=False)
N_SHARDS_OPTION = typer.Option(..., "--n-shards", help="Shards of the network; 4 to 1000.", show_default=False)
ENCODING_OPTION = typer.Option(
    None, "--encoding", help="RS2 or RS8; when left out, RS2 for what fits into it and RS8 beyond.", show_default=False
)
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
    """Indices of verified slivers of one axis, ascending."""

    axis: Axis
    needed: int
    indices: list[int] = field(default_factory=list)

    @property
    def is_enough(self) -> bool:
        """Whether they decode the blob."""
        return len(self.indices) >= self.needed


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("blob-id")(blob_id)
    app.command("encode")(encode)
    app.command("decode")(decode)


# --- the commands -------------------------------------------------------------------------------------------


def blob_id(
    file: Path = FILE_ARGUMENT,
    n_shards: int = N_SHARDS_OPTION,
    encoding: str | None = ENCODING_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Compute the blob id of a file without storing it."""
    from haulout.cli.progress import byte_bar
    from haulout.cli.sliver_folder import PositionedFile, ScratchFile
    from haulout.codec import large

    size_bytes, encoding_type = measure_file(file, n_shards, encoding)
    load_kernels_for_command(size_bytes, n_shards)
    with (
        PositionedFile(file) as source,
        ScratchFile(size_bytes, n_shards, encoding_type) as scratch,
        byte_bar(file.name, size_bytes) as on_progress,
    ):
        metadata = large.compute_metadata(
            source, size_bytes, n_shards, scratch, encoding=encoding_type, on_progress=on_progress
        )
    _answer({**describe(metadata), "file": str(file)}, as_json=as_json)


def encode(
    file: Path = FILE_ARGUMENT,
    n_shards: int = N_SHARDS_OPTION,
    out: Path = OUT_FOLDER_OPTION,
    encoding: str | None = ENCODING_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Encode a file into a folder of metadata and sliver pairs."""
    check_folder_is_free(out)
    size_bytes, encoding_type = measure_file(file, n_shards, encoding)
    load_kernels_for_command(size_bytes, n_shards)
    metadata = encode_file(file, size_bytes, n_shards, encoding_type, out)
    _answer({**describe(metadata), "file": str(file), "out": str(out)}, as_json=as_json)


def decode(
    folder: Path = FOLDER_ARGUMENT,
    out: Path = OUT_FILE_OPTION,
    strict: bool = STRICT_OPTION,
    as_json: bool = JSON_OPTION,
) -> None:
    """Decode a file from what is left of a folder that `encode` made."""
    from haulout import codec
    from haulout.cli.files import is_special

    if out.is_dir():
        raise InvalidField(field="--out", problem=f"{out} is a folder")
    if is_special(out):
        raise InvalidField(field="--out", problem=f"{out} is no file; the blob is decoded into a file, out of order")
    metadata = read_metadata(folder)
    load_kernels_for_command(metadata.unencoded_length, metadata.n_shards)
    skipped: list[Skipped] = []
    try:
        found = find_slivers(folder, metadata, skipped)
    finally:
        if not as_json:
            for one in skipped:
                sys.stderr.write(f"haulout: skipped {one.file}: {one.problem}\n")
    check = codec.ConsistencyCheck.STRICT if strict else codec.ConsistencyCheck.DEFAULT
    decode_file(folder, metadata, found, check, out)
    document = {
        **describe(metadata),
        "file": str(out),
        "decodedFrom": found.axis.name.lower(),
        "skipped": [{"file": one.file, "problem": one.problem} for one in skipped],
    }
    _answer(document, as_json=as_json)


# --- what they are made of ----------------------------------------------------------------------------------


def load_kernels_for_command(size_bytes: int, n_shards: int) -> None:
    """Native kernels if the work is worth the time that it takes to get them."""
    from haulout.world.kernels import KernelSettings, load_kernels_for

    load_kernels_for(KernelSettings.of(os.environ), size_bytes, n_shards)


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


def measure_file(file: Path, n_shards: int, encoding: str | None) -> tuple[int, EncodingType]:
    """The bytes of a readable file that the network could hold, and the encoding that is named or chosen for it.

    Raises:
        InvalidField: not a readable file, or no such network.
        ShardCountOutOfRange, BlobTooLarge: with the limit.
    """
    from haulout.cli.files import measure
    from haulout.codec import sizes

    named = None if encoding is None else EncodingType.parse(encoding)
    sizes.check_shard_count(n_shards, named or EncodingType.RS2)
    try:
        with file.open("rb") as opened:
            size_bytes = measure(opened, file)
    except OSError as e:
        raise InvalidField(field="FILE", problem=f"cannot read {file}: {e.strerror}") from e
    chosen = sizes.choose_encoding(size_bytes, n_shards, named)
    sizes.symbol_size_bytes(size_bytes, n_shards, chosen)
    return size_bytes, chosen


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


def encode_file(file: Path, size_bytes: int, n_shards: int, encoding: EncodingType, out: Path) -> BlobMetadata:
    """Write metadata and all sliver pairs; `out` appears when everything is in it.

    Raises:
        InvalidField: it cannot be written there.
        DiskFull: nothing is left behind.
    """
    from haulout import bcs
    from haulout.cli.progress import byte_bar
    from haulout.cli.sliver_folder import METADATA_FILE, PositionedFile, SliverFolder
    from haulout.codec import BlobMetadataWithId, large

    with _writing(out):
        partial = _partial_name(out)
        try:
            for axis in Axis:
                (partial / axis.name.lower()).mkdir(parents=True)
            store = SliverFolder(partial, size_bytes, n_shards, encoding)
            with PositionedFile(file) as source, byte_bar(file.name, size_bytes) as on_progress:
                metadata = large.encode_to_store(
                    source, size_bytes, n_shards, store, encoding=encoding, on_progress=on_progress
                )
            (partial / METADATA_FILE).write_bytes(bcs.encode(BlobMetadataWithId(metadata.blob_id(), metadata)))
            partial.replace(out)
        except BaseException:  # a cancel as well: no half folder stays
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return metadata


def read_metadata(folder: Path) -> BlobMetadata:
    """The metadata in a folder, checked against the blob id beside it.

    Raises:
        NoMetadata: there is none.
        DamagedMetadata: it is not what it says.
    """
    from haulout import bcs, codec
    from haulout.cli.sliver_folder import METADATA_FILE

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
    best = min(tried, key=lambda found: found.needed - len(found.indices))
    raise NotEnoughSlivers(axis=best.axis.name.lower(), got=len(best.indices), needed=best.needed)


def find_slivers_of(folder: Path, metadata: BlobMetadata, axis: Axis, skipped: list[Skipped]) -> Found:
    """Verified slivers of one axis, until there are enough."""
    from haulout.cli.sliver_folder import sliver_files, sliver_path
    from haulout.codec import large, sizes

    found = Found(axis, sizes.n_source_symbols(axis, metadata.n_shards))
    slivers = sliver_folder_of(folder, metadata)
    left, others = sliver_files(folder, axis, metadata.n_shards)
    skipped += [Skipped(name, "not the name of a sliver of this blob") for name in others]

    def skip(sliver_index: int, problem: str) -> None:
        name = sliver_path(axis, pair_of_sliver_index(sliver_index, axis, metadata.n_shards))
        skipped.append(Skipped(name, problem))

    while left and not found.is_enough:
        some: list[int] = []
        while left and len(found.indices) + len(some) < found.needed:
            index = left.pop(0)
            try:
                problem = slivers.problem_of(axis, index)
            except OSError as e:
                problem = f"cannot be read: {e.strerror}"
            if problem is None:
                some.append(index)
            else:
                skip(index, problem)
        for index, computed in large.compute_sliver_hashes(metadata, axis, some, slivers):
            if computed == metadata.sliver_hash(axis, index):
                found.indices.append(index)
            else:
                skip(index, "damaged: it does not match its hash in the metadata")
    return found


def sliver_folder_of(folder: Path, metadata: BlobMetadata) -> SliverFolder:
    """The slivers of a blob in a folder."""
    from haulout.cli.sliver_folder import SliverFolder

    return SliverFolder(folder, metadata.unencoded_length, metadata.n_shards, metadata.encoding_type)


def decode_file(folder: Path, metadata: BlobMetadata, found: Found, check: ConsistencyCheck, out: Path) -> None:
    """Write the blob; `out` appears, or replaces what was there, when it is whole and checked.

    Raises:
        InvalidField: it cannot be written there.
        DiskFull: nothing is left behind.
        InconsistentBlob: its writer encoded it wrongly; nothing is left behind.
    """
    from haulout.cli.progress import byte_bar
    from haulout.cli.sliver_folder import PositionedFile, ScratchFile
    from haulout.codec import large

    length, n_shards, encoding = metadata.unencoded_length, metadata.n_shards, metadata.encoding_type
    with _writing(out):
        partial = _partial_name(out)
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            with (
                PositionedFile(partial, writable=True) as file,
                ScratchFile(length, n_shards, encoding) as scratch,
                byte_bar(out.name, length) as on_progress,
            ):
                slivers = sliver_folder_of(folder, metadata)
                large.decode_to_sink(metadata, found.axis, found.indices, slivers, file, on_progress=on_progress)
                known = found.indices if found.axis is Axis.PRIMARY else []
                large.check_blob(metadata, file, known, check, scratch)
            partial.replace(out)
        except BaseException:  # a cancel as well: no half file stays
            partial.unlink(missing_ok=True)
            raise


def _partial_name(out: Path) -> Path:
    """Where a result is until it is whole: hidden, beside its place."""
    whole = out.resolve()
    return whole.with_name(f".{whole.name}.{os.getpid()}.partial")


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
