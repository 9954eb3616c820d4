"""Byte ranges of RFC 9110: one range of the forms `bytes=S-E`, `bytes=S-`, `bytes=-N`.

A header that does not read, names another unit or several ranges is ignored, and the whole blob is sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from haulout.client.errors import RangeOutOfBlob

_SINGLE = re.compile(r"bytes\s*=\s*([0-9]*)\s*-\s*([0-9]*)\s*", re.IGNORECASE)
_DIGITS_MAX = 64  # far behind every blob; longer ones are not worth reading


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` to `end`, both included."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start + 1

    def content_range(self, size_bytes: int) -> str:
        """Value of the header of that name."""
        return f"bytes {self.start}-{self.end}/{size_bytes}"


def parse_range(header: str | None, size_bytes: int) -> ByteRange | None:
    """The range that a header asks for, clamped to the blob; None for all of it.

    Raises:
        RangeOutOfBlob: well formed, but nothing of it is in the blob.
    """
    match = _SINGLE.fullmatch(header.strip()) if header else None
    if match is None:
        return None
    first, last = match.group(1), match.group(2)
    if (not first and not last) or max(len(first), len(last)) > _DIGITS_MAX:
        return None
    if not first:
        start, end = max(size_bytes - int(last), 0), size_bytes - 1
        if int(last) == 0 or size_bytes == 0:
            raise RangeOutOfBlob(start=start, end=end, size_bytes=size_bytes)
        return ByteRange(start, end)
    start = int(first)
    end = min(int(last), size_bytes - 1) if last else size_bytes - 1
    if last and int(last) < start:
        return None
    if start >= size_bytes:
        raise RangeOutOfBlob(start=start, end=end, size_bytes=size_bytes)
    return ByteRange(start, end)


def matches_etag(header: str | None, etag: str) -> bool:
    """Whether an `If-None-Match` (or `If-Range`) names this entity; the bare form of Walrus counts too."""
    if not header:
        return False
    names = {part.strip().removeprefix("W/").strip('"') for part in header.split(",")}
    return "*" in names or etag in names
