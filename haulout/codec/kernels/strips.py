"""Words of symbols through the native transforms: encoding and decoding of many words in one call.

Words are coded strip by strip. A strip gathers as many chunks of as many words as keep all rows in the second-level
cache; tails of symbols that are no multiple of 64 bytes are packed lane by lane, those of many words into one chunk::

    symbols of 70 bytes:   | 64 bytes: a chunk | l0 l1 l2 h0 h1 h2 |         ten tails make a chunk

Equal to the plain versions in `codec.reed_solomon` byte for byte; the tests compare them.
"""

# mypy: disallow-untyped-decorators=False, disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disable-error-code="call-arg,import-untyped,var-annotated"

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from haulout.codec.galois import ORDER, Logs
from haulout.codec.kernels.gf16 import (
    CONSTANT_BYTES,
    add_rows,
    clear_rows,
    constant_at,
    constants_of_logs,
    forward,
    inverse,
    skew_constants,
    times,
)
from haulout.codec.lanes import Symbols
from haulout.codec.scratch import borrow
from haulout.crypto.simd import copy_bytes, load, store, zero

Points = NDArray[np.intp]

STRIP_BYTES: Final = 1 << 20  # of the rows of one transform: what a second-level cache holds
STRIP_BYTES_MAX: Final = 4096  # of a row
_GAP_BYTES: Final = 64  # keeps rows a power of two apart out of the same cache set


# --- symbols to strips and back -----------------------------------------------------------------------------
# A symbol has `full` chunks and then `tail` lanes. Strips count units: chunks of all words one after the other, or
# lanes of all tails one after the other.


@njit("void(intp, intp, intp, intp, intp, intp, intp)", nogil=True, cache=True)
def _pack_chunks(symbol, word_stride, full, start, stop, row, is_packing):
    """Move the chunks `start … stop` of one symbol index, all words counted through, to a row, or back."""
    if word_stride == 64 * full:  # words without gaps are like one
        symbol += 64 * start
        full, start, stop = stop - start, 0, stop - start
    word, chunk = start // full, start % full
    at = row
    while start < stop:
        run = min(full - chunk, stop - start)
        where = symbol + word * word_stride + 64 * chunk
        if is_packing:
            for i in range(0, 64 * run, 64):
                store(at + i, load(where + i))
        else:
            for i in range(0, 64 * run, 64):
                store(where + i, load(at + i))
        at += 64 * run
        start += run
        word += 1
        chunk = 0


@njit("void(intp, intp, intp, intp, intp, intp, boolean)", nogil=True, cache=True)
def _pack_tails(tails, word_stride, tail, start, stop, row, is_packing):
    """Move the lanes `start … stop` of the tails of one symbol index, all words counted through, to a row, or back."""
    word, lane = start // tail, start % tail
    place = 0
    while start < stop:
        run = min(tail - lane, stop - start, 32 - place % 32)
        low = tails + word * word_stride + lane
        packed = row + place // 32 * 64 + place % 32
        if is_packing:
            copy_bytes(packed, low, run)
            copy_bytes(packed + 32, low + tail, run)
        else:
            copy_bytes(low, packed, run)
            copy_bytes(low + tail, packed + 32, run)
        place += run
        start += run
        lane += run
        if lane == tail:
            word += 1
            lane = 0


@njit("void(intp, intp, intp, intp, intp, intp, intp, intp, intp, intp, boolean, boolean)", nogil=True, cache=True)
def _move(symbols, symbol_stride, word_stride, size, first, count, rows, pitch, start, stop, in_tails, is_packing):
    """Move a strip of the symbols `first … first + count` to as many rows, or back."""
    full, tail = size // 64, size % 64 // 2
    for i in range(count):
        symbol = symbols + (first + i) * symbol_stride
        if in_tails:
            _pack_tails(symbol + 64 * full, word_stride, tail, start, stop, rows + i * pitch, is_packing)
        else:
            _pack_chunks(symbol, word_stride, full, start, stop, rows + i * pitch, is_packing)


# --- encoding -----------------------------------------------------------------------------------------------


@njit(
    "void(intp, intp, intp, intp, intp, intp, intp, intp, intp, intp, intp, boolean, intp, intp, intp)",
    nogil=True,
    cache=True,
)
def _encode(
    source, source_stride, source_words, k, out, out_stride, out_words, r, n_words, size, chunk, high_rate,
    table, memory, width,
):  # fmt: skip
    """`Code.encode` of words; strides of symbols and of words. `memory` has room for two times `chunk` rows."""
    pitch = width + 64
    total, rows = memory, memory + chunk * pitch
    full, tail = size // 64, size % 64 // 2
    for in_tails in (False, True):
        n_units = n_words * (tail if in_tails else full)
        step = width // 2 if in_tails else width // 64
        for start in range(0, n_units, step):
            stop = min(start + step, n_units)
            wide = (stop - start + 31) // 32 * 64 if in_tails else 64 * (stop - start)
            if high_rate:
                for first in range(0, k, chunk):
                    count = min(chunk, k - first)
                    into = rows if first else total
                    _move(
                        source,
                        source_stride,
                        source_words,
                        size,
                        first,
                        count,
                        into,
                        pitch,
                        start,
                        stop,
                        in_tails,
                        True,
                    )
                    clear_rows(into, pitch, wide, count, chunk)
                    inverse(into, pitch, wide, chunk, first + chunk, count, table)
                    if first:
                        add_rows(rows, total, pitch, wide, 0, chunk)
                forward(total, total, pitch, wide, chunk, 0, r, table)
                _move(out, out_stride, out_words, size, 0, r, total, pitch, start, stop, in_tails, False)
            else:
                _move(source, source_stride, source_words, size, 0, k, total, pitch, start, stop, in_tails, True)
                clear_rows(total, pitch, wide, k, chunk)
                inverse(total, pitch, wide, chunk, 0, k, table)
                for first in range(0, r, chunk):
                    count = min(chunk, r - first)
                    forward(total, rows, pitch, wide, chunk, first + chunk, count, table)
                    _move(out, out_stride, out_words, size, first, count, rows, pitch, start, stop, in_tails, False)


def encode(source: Symbols, out: Symbols, *, chunk: int, is_high_rate: bool) -> None:
    """Write the repair symbols of words: source (n_source, words, s), out (n_repair, words, s).

    Both may be strided in their first two axes. Releases the interpreter lock.
    """
    k, n_words, size = source.shape
    r = out.shape[0]
    assert out.shape[1:] == source.shape[1:] and size % 2 == 0 and out.flags.writeable
    assert source.strides[2] == 1 == out.strides[2] or size == 0
    table = skew_constants(_table_size(chunk + max(k, r) + chunk))
    width = _width(2 * chunk, _widest(n_words, size))
    with _strip(2 * chunk, width) as memory:
        _encode(
            source.ctypes.data, source.strides[0], source.strides[1], k,
            out.ctypes.data, out.strides[0], out.strides[1], r,
            n_words, size, chunk, is_high_rate, table.ctypes.data, memory, width,
        )  # fmt: skip


# --- decoding -----------------------------------------------------------------------------------------------


@njit("void(intp, intp, intp, intp)", nogil=True, cache=True)
def multiply_row(source, target, width, constant):
    factor = constant_at(constant)
    for at in range(0, width, 64):
        store(target + at, times(load(source + at), factor))


@njit(
    "void(intp[::1], intp[::1], intp[::1], intp[::1], intp[::1], intp[::1], "
    "intp, intp, intp, intp, intp, intp, intp, intp)",
    nogil=True,
    cache=True,
)
def _decode(
    received, received_words, points, out, out_words, missing_points, n_words, size, n_points,
    constants, inverse_constants, table, memory, width,
):  # fmt: skip
    """`Decoder.decode_by_transform` of words: addresses and word strides per row, constants per row."""
    pitch = width + 64
    full, tail = size // 64, size % 64 // 2
    n_used, n_needed = points.max() + 1, missing_points.max() + 1
    spare = memory + n_points * pitch
    for in_tails in (False, True):
        n_units = n_words * (tail if in_tails else full)
        step = width // 2 if in_tails else width // 64
        for start in range(0, n_units, step):
            stop = min(start + step, n_units)
            wide = (stop - start + 31) // 32 * 64 if in_tails else 64 * (stop - start)
            clear_rows(memory, pitch, wide, 0, n_points)
            for i in range(len(points)):
                row = memory + points[i] * pitch
                _move(received[i], 0, received_words[i], size, 0, 1, row, pitch, start, stop, in_tails, True)
                multiply_row(row, row, wide, constants + i * CONSTANT_BYTES)
            inverse(memory, pitch, wide, n_points, 0, n_used, table)
            for i in range(1, n_points):
                lowest = i & -i
                add_rows(memory + i * pitch, memory + (i - lowest) * pitch, pitch, wide, 0, lowest)
            forward(memory, memory, pitch, wide, n_points, 0, n_needed, table)
            for i in range(len(missing_points)):
                multiply_row(memory + missing_points[i] * pitch, spare, wide, inverse_constants + i * CONSTANT_BYTES)
                _move(out[i], 0, out_words[i], size, 0, 1, spare, pitch, start, stop, in_tails, False)


@njit(
    "void(intp[::1], intp[::1], intp[::1], intp[::1], intp, intp, intp, intp, intp)",
    nogil=True,
    cache=True,
)
def _decode_by_matrix(received, received_words, out, out_words, n_words, size, constants, memory, width):
    """`Decoder.decode_by_matrix` of words: constants (missing, received)."""
    pitch = width + 64
    full, tail = size // 64, size % 64 // 2
    k = len(received)
    spare = memory + k * pitch
    for in_tails in (False, True):
        n_units = n_words * (tail if in_tails else full)
        step = width // 2 if in_tails else width // 64
        for start in range(0, n_units, step):
            stop = min(start + step, n_units)
            wide = (stop - start + 31) // 32 * 64 if in_tails else 64 * (stop - start)
            for i in range(k):
                row = memory + i * pitch
                _move(received[i], 0, received_words[i], size, 0, 1, row, pitch, start, stop, in_tails, True)
            for j in range(len(out)):
                at = 0
                while at + 256 <= wide:
                    y0, y1, y2, y3 = zero(), zero(), zero(), zero()
                    place = memory + at
                    for i in range(k):
                        factor = constant_at(constants + (j * k + i) * CONSTANT_BYTES)
                        y0 = y0 ^ times(load(place), factor)
                        y1 = y1 ^ times(load(place + 64), factor)
                        y2 = y2 ^ times(load(place + 128), factor)
                        y3 = y3 ^ times(load(place + 192), factor)
                        place += pitch
                    store(spare + at, y0)
                    store(spare + at + 64, y1)
                    store(spare + at + 128, y2)
                    store(spare + at + 192, y3)
                    at += 256
                while at < wide:
                    y = zero()
                    place = memory + at
                    for i in range(k):
                        y = y ^ times(load(place), constant_at(constants + (j * k + i) * CONSTANT_BYTES))
                        place += pitch
                    store(spare + at, y)
                    at += 64
                _move(out[j], 0, out_words[j], size, 0, 1, spare, pitch, start, stop, in_tails, False)


class TransformDecoder:
    """Decodes many words with the same losses through the error locator."""

    def __init__(
        self,
        points: NDArray[np.int64],
        locators: Logs,
        missing_points: NDArray[np.int64],
        missing_locators: Logs,
        n_points: int,
    ) -> None:
        """Points and logarithms of the error locator there, of the received symbols and of the missing ones."""
        self._points, self._missing_points = points.astype(np.intp), missing_points.astype(np.intp)
        self._n_points = n_points
        self._constants = constants_of_logs(locators)
        self._inverse_constants = constants_of_logs((ORDER - missing_locators) % ORDER)

    def decode(self, received: Sequence[Symbols], out: Sequence[Symbols]) -> None:
        """Write the missing symbols (words, s) of words; all may be strided in their first axis."""
        n_words, size = received[0].shape
        n_points = self._n_points
        table = skew_constants(_table_size(n_points))
        width = _width(n_points + 1, _widest(n_words, size))
        with _strip(n_points + 1, width) as memory:
            _decode(
                *_addresses(received), self._points, *_addresses(out), self._missing_points, n_words, size, n_points,
                self._constants.ctypes.data, self._inverse_constants.ctypes.data, table.ctypes.data, memory, width,
            )  # fmt: skip


class MatrixDecoder:
    """Decodes many words with the same few losses: each missing symbol is a sum of multiples of the received ones."""

    def __init__(self, exponents: Logs) -> None:
        """Logarithms of the multipliers, (missing, received)."""
        self._constants = constants_of_logs(exponents.reshape(-1))

    def decode(self, received: Sequence[Symbols], out: Sequence[Symbols]) -> None:
        """Write the missing symbols (words, s) of words; all may be strided in their first axis."""
        n_words, size = received[0].shape
        width = _width(len(received) + 1, _widest(n_words, size))
        addresses = (*_addresses(received), *_addresses(out))
        with _strip(len(received) + 1, width) as memory:
            _decode_by_matrix(*addresses, n_words, size, self._constants.ctypes.data, memory, width)


transform_decoder: Final = TransformDecoder
matrix_decoder: Final = MatrixDecoder

# --- memory -------------------------------------------------------------------------------------------------


def _width(n_rows: int, widest: int) -> int:
    """Bytes per row of a strip."""
    return max(64, min(STRIP_BYTES_MAX, STRIP_BYTES // n_rows // 64 * 64, widest))


@contextmanager
def _strip(n_rows: int, width: int) -> Iterator[int]:
    """The address of memory for rows of that width."""
    with borrow(n_rows * (width + _GAP_BYTES)) as memory:
        yield memory.ctypes.data


def _widest(n_words: int, size: int) -> int:
    """Bytes of a row that all words fill."""
    return 64 * max(n_words * (size // 64), -(-n_words * (size % 64 // 2) // 32))


def _table_size(n_points: int) -> int:
    """How many skew elements a transform over so many points looks up."""
    return 1 << (n_points - 1).bit_length()


def _addresses(rows: Sequence[Symbols]) -> tuple[Points, Points]:
    """Where rows (words, s) begin and how far apart their words stand."""
    assert all(row.strides[1] == 1 or row.shape[1] < 2 for row in rows)
    return np.array([row.ctypes.data for row in rows], np.intp), np.array([row.strides[0] for row in rows], np.intp)
