"""A constant matrix times rows of bytes over GF(2^8), in vector registers.

Six outputs of 256 bytes are summed up in 24 registers while the inputs stream by, so an input is loaded once for six
outputs and an output is written once; three outputs or fewer take half the work. A strip of `STRIP_BYTES` of every
input stays in the second cache while all outputs of it are made. Multiplying 64 bytes by a constant takes

    GFNI       one `affine`: the constant as an 8x8 bit matrix, 8 bytes of table
    otherwise  two `lookup`s: its products with the 16 low and the 16 high nibbles, 32 bytes of table

The last bytes of a row that fill no vector go through padded copies. Plain version: `codec.gf8.multiply_plainly`.
"""

# mypy: disallow-untyped-decorators=False, disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disable-error-code="call-arg,import-untyped,var-annotated"

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from haulout.codec.gf8 import Matrix, products
from haulout.codec.lanes import Symbols
from haulout.crypto.simd import (
    CHUNK_BYTES,
    INSTRUCTION_SET,
    affine,
    copy_bytes,
    high_nibbles,
    load,
    load_matrix,
    load_table,
    lookup,
    low_nibbles,
    store,
    zero,
)

STRIP_BYTES: Final = 1024
TILE_BYTES: Final = 256
OUTPUTS: Final = 6
HALF: Final = OUTPUTS // 2
_IS_GFNI: Final = INSTRUCTION_SET == "gfni"
FACTOR_BYTES: Final = 8 if _IS_GFNI else 32


def multiply(matrix: Matrix, source: Sequence[Symbols], out: Sequence[Symbols]) -> None:
    """As `codec.gf8.multiply`. Releases the interpreter lock."""
    n_words, size = source[0].shape
    source, source_step = _alike(source)
    out_step = out[0].strides[0]
    assert all(a.shape == (n_words, size) and a.strides == (out_step, 1) for a in out)
    if matrix.prepared is None:
        matrix.prepared = _prepare(matrix.values)
    box = np.zeros(CHUNK_BYTES * (len(source) + len(out)), np.uint8)
    _multiply(
        _addresses(source), source_step, _addresses(out), out_step, n_words, size, matrix.prepared.ctypes.data, box
    )


def _alike(arrays: Sequence[Symbols]) -> tuple[Sequence[Symbols], int]:
    """Arrays whose words all stand equally far apart, copies if need be, and how far."""
    step = arrays[0].strides[0]
    if any(array.strides != (step, 1) for array in arrays):
        arrays = [np.ascontiguousarray(array) for array in arrays]
        step = arrays[0].shape[1]
    return arrays, step


def _addresses(arrays: Sequence[Symbols]) -> NDArray[np.int64]:
    return np.array([array.ctypes.data for array in arrays], np.int64)


def _prepare(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The factors as the kernel reads them: per group of outputs, per input, one table for each output."""
    n_rows, n_columns = values.shape
    padded = np.zeros((-(-n_rows // OUTPUTS) * OUTPUTS, n_columns), np.uint8)
    padded[:n_rows] = values
    groups = padded.reshape(-1, OUTPUTS, n_columns).transpose(0, 2, 1)
    return np.ascontiguousarray(_factor_tables()[groups])


def _factor_tables() -> NDArray[np.uint8]:
    """For each of the 256 constants what multiplies by it, (256, FACTOR_BYTES)."""
    table = products()
    if not _IS_GFNI:
        return np.concatenate([table[:, :16], table[:, ::16]], axis=1)
    images = table[:, 1 << np.arange(8)]  # of the eight bits
    rows = np.zeros((256, 8), np.uint8)
    for bit in range(8):  # byte 7 - bit of a matrix says which input bits make this output bit
        rows[:, 7 - bit] = np.packbits(images >> bit & 1, axis=1, bitorder="little")[:, 0]
    return rows


if _IS_GFNI:

    @njit(inline="always")
    def _add(total: Any, chunk: Any, factor: Any) -> Any:
        return total ^ affine(chunk, load_matrix(factor))

else:

    @njit(inline="always")
    def _add(total: Any, chunk: Any, factor: Any) -> Any:
        low = lookup(load_table(factor), low_nibbles(chunk))
        return total ^ low ^ lookup(load_table(factor + 16), high_nibbles(chunk))


@njit(inline="always")
def _store(at: Any, x0: Any, x1: Any, x2: Any, x3: Any) -> None:
    store(at, x0)
    store(at + 64, x1)
    store(at + 128, x2)
    store(at + 192, x3)


@njit("void(int64[::1], intp, int64[::1], intp, intp, intp)", nogil=True, cache=True)
def _tile(sources, source_at, outs, out_at, first, factors):
    """256 bytes of up to six outputs from `first` on."""
    a0, a1, a2, a3 = zero(), zero(), zero(), zero()
    b0, b1, b2, b3 = zero(), zero(), zero(), zero()
    c0, c1, c2, c3 = zero(), zero(), zero(), zero()
    d0, d1, d2, d3 = zero(), zero(), zero(), zero()
    e0, e1, e2, e3 = zero(), zero(), zero(), zero()
    f0, f1, f2, f3 = zero(), zero(), zero(), zero()
    for i in range(len(sources)):
        at = sources[i] + source_at
        x0, x1, x2, x3 = load(at), load(at + 64), load(at + 128), load(at + 192)
        t = factors
        a0, a1, a2, a3 = _add(a0, x0, t), _add(a1, x1, t), _add(a2, x2, t), _add(a3, x3, t)
        t += FACTOR_BYTES
        b0, b1, b2, b3 = _add(b0, x0, t), _add(b1, x1, t), _add(b2, x2, t), _add(b3, x3, t)
        t += FACTOR_BYTES
        c0, c1, c2, c3 = _add(c0, x0, t), _add(c1, x1, t), _add(c2, x2, t), _add(c3, x3, t)
        t += FACTOR_BYTES
        d0, d1, d2, d3 = _add(d0, x0, t), _add(d1, x1, t), _add(d2, x2, t), _add(d3, x3, t)
        t += FACTOR_BYTES
        e0, e1, e2, e3 = _add(e0, x0, t), _add(e1, x1, t), _add(e2, x2, t), _add(e3, x3, t)
        t += FACTOR_BYTES
        f0, f1, f2, f3 = _add(f0, x0, t), _add(f1, x1, t), _add(f2, x2, t), _add(f3, x3, t)
        factors += OUTPUTS * FACTOR_BYTES
    count = len(outs) - first
    _store(outs[first] + out_at, a0, a1, a2, a3)
    if count > 1:
        _store(outs[first + 1] + out_at, b0, b1, b2, b3)
    if count > 2:
        _store(outs[first + 2] + out_at, c0, c1, c2, c3)
    if count > 3:
        _store(outs[first + 3] + out_at, d0, d1, d2, d3)
    if count > 4:
        _store(outs[first + 4] + out_at, e0, e1, e2, e3)
    if count > 5:
        _store(outs[first + 5] + out_at, f0, f1, f2, f3)


@njit("void(int64[::1], intp, int64[::1], intp, intp, intp)", nogil=True, cache=True)
def _half_tile(sources, source_at, outs, out_at, first, factors):
    """256 bytes of up to three outputs from `first` on."""
    a0, a1, a2, a3 = zero(), zero(), zero(), zero()
    b0, b1, b2, b3 = zero(), zero(), zero(), zero()
    c0, c1, c2, c3 = zero(), zero(), zero(), zero()
    for i in range(len(sources)):
        at = sources[i] + source_at
        x0, x1, x2, x3 = load(at), load(at + 64), load(at + 128), load(at + 192)
        t = factors
        a0, a1, a2, a3 = _add(a0, x0, t), _add(a1, x1, t), _add(a2, x2, t), _add(a3, x3, t)
        t += FACTOR_BYTES
        b0, b1, b2, b3 = _add(b0, x0, t), _add(b1, x1, t), _add(b2, x2, t), _add(b3, x3, t)
        t += FACTOR_BYTES
        c0, c1, c2, c3 = _add(c0, x0, t), _add(c1, x1, t), _add(c2, x2, t), _add(c3, x3, t)
        factors += OUTPUTS * FACTOR_BYTES
    count = len(outs) - first
    _store(outs[first] + out_at, a0, a1, a2, a3)
    if count > 1:
        _store(outs[first + 1] + out_at, b0, b1, b2, b3)
    if count > 2:
        _store(outs[first + 2] + out_at, c0, c1, c2, c3)


@njit("void(int64[::1], intp, int64[::1], intp, intp, intp)", nogil=True, cache=True)
def _narrow_tile(sources, source_at, outs, out_at, first, factors):
    """64 bytes of up to six outputs from `first` on."""
    a, b, c, d, e, f = zero(), zero(), zero(), zero(), zero(), zero()
    for i in range(len(sources)):
        x = load(sources[i] + source_at)
        a = _add(a, x, factors)
        b = _add(b, x, factors + FACTOR_BYTES)
        c = _add(c, x, factors + 2 * FACTOR_BYTES)
        d = _add(d, x, factors + 3 * FACTOR_BYTES)
        e = _add(e, x, factors + 4 * FACTOR_BYTES)
        f = _add(f, x, factors + 5 * FACTOR_BYTES)
        factors += OUTPUTS * FACTOR_BYTES
    count = len(outs) - first
    store(outs[first] + out_at, a)
    if count > 1:
        store(outs[first + 1] + out_at, b)
    if count > 2:
        store(outs[first + 2] + out_at, c)
    if count > 3:
        store(outs[first + 3] + out_at, d)
    if count > 4:
        store(outs[first + 4] + out_at, e)
    if count > 5:
        store(outs[first + 5] + out_at, f)


@njit("void(int64[::1], intp, int64[::1], intp, intp, intp, intp, uint8[::1])", nogil=True, cache=True)
def _multiply(sources, source_step, outs, out_step, n_words, size, factors, box):
    """All outputs of `n_words` words of `size` bytes; `box` has room for a chunk of every input and output."""
    n_sources, n_outs = len(sources), len(outs)
    group_bytes = n_sources * OUTPUTS * FACTOR_BYTES
    whole = size // CHUNK_BYTES * CHUNK_BYTES
    rest = size - whole
    inner = box.ctypes.data
    inner_sources = np.empty(n_sources, np.int64)
    inner_outs = np.empty(n_outs, np.int64)
    for i in range(n_sources):
        inner_sources[i] = inner + CHUNK_BYTES * i
    for j in range(n_outs):
        inner_outs[j] = inner + CHUNK_BYTES * (n_sources + j)
    for word in range(n_words):
        source_at, out_at = word * source_step, word * out_step
        for strip in range(0, whole, STRIP_BYTES):
            end = min(strip + STRIP_BYTES, whole)
            tiles_end = strip + (end - strip) // TILE_BYTES * TILE_BYTES
            for first in range(0, n_outs, OUTPUTS):
                group = factors + first // OUTPUTS * group_bytes
                is_half = n_outs - first <= HALF
                for at in range(strip, tiles_end, TILE_BYTES):
                    if is_half:
                        _half_tile(sources, source_at + at, outs, out_at + at, first, group)
                    else:
                        _tile(sources, source_at + at, outs, out_at + at, first, group)
                for at in range(tiles_end, end, CHUNK_BYTES):
                    _narrow_tile(sources, source_at + at, outs, out_at + at, first, group)
        if rest:
            for i in range(n_sources):
                copy_bytes(inner_sources[i], sources[i] + source_at + whole, rest)
            for first in range(0, n_outs, OUTPUTS):
                _narrow_tile(inner_sources, 0, inner_outs, 0, first, factors + first // OUTPUTS * group_bytes)
            for j in range(n_outs):
                copy_bytes(outs[j] + out_at + whole, inner_outs[j], rest)
