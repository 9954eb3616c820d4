"""Names of the files that slivers stand in."""

from __future__ import annotations

from haulout.primitives import BlobId

FOLDER = "slivers"


def path_of(blob_id: bytes, name: bytes) -> str:
    """A file of slivers: `slivers/ab/<blob id>-<name>`, in hex."""
    text = blob_id.hex()
    return f"{FOLDER}/{text[:2]}/{text}-{name.hex()}"


def split_path(path: str) -> tuple[BlobId, bytes] | None:
    """Inverse of `path_of`; None for a file that is none of ours."""
    stem = path.rsplit("/", 1)[-1]
    try:
        blob_text, name_text = stem.split("-")
        return BlobId(bytes.fromhex(blob_text)), bytes.fromhex(name_text)
    except ValueError:
        return None
