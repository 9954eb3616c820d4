"""Memory at cache lines; for intermediate results it is kept: touching fresh memory costs more than coding it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

KEPT_BYTES_MAX: Final = 64 << 20  # of one piece; larger ones are not kept
_KEPT_PIECES: Final = 4  # of each size
_SIZE_BYTES_MIN: Final = 1 << 12
_ALIGNMENT: Final = 64  # of a cache line: vectors that cross lines are stored at half the speed

_free: dict[int, list[NDArray[np.uint8]]] = {}  # by size, a power of two


@contextmanager
def borrow(*shape: int) -> Iterator[NDArray[np.uint8]]:
    """An array of bytes with arbitrary contents, to be used inside the context only. Safe in threads."""
    needed = math.prod(shape)
    size = max(_SIZE_BYTES_MIN, 1 << max(0, needed - 1).bit_length())
    pieces = _free.setdefault(size, [])
    try:
        memory = pieces.pop()
    except IndexError:
        memory = _aligned(size)
    try:
        yield memory[:needed].reshape(shape)
    finally:
        if size <= KEPT_BYTES_MAX and len(pieces) < _KEPT_PIECES:
            pieces.append(memory)


def fresh(size_bytes: int) -> memoryview:
    """Memory with arbitrary contents that begins at a cache line."""
    return _aligned(size_bytes).data


def _aligned(size_bytes: int) -> NDArray[np.uint8]:
    memory = np.empty(size_bytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size_bytes]
