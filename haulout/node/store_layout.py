"""Where slivers go by their size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes in bytes; may change between starts, what is stored stays readable."""

    inline_bytes: int = 256 * 1024  # pending at a blob's sync
    inline_piece_bytes: int = 64 * 1024  # of pieces that came together
    pack_bytes: int = 4 * 1024 * 1024
    own_file_bytes: int = 1024 * 1024
    buffer_limit_bytes: int = 64 * 1024 * 1024  # over all blobs; beyond it packs are written early
