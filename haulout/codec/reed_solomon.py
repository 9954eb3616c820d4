"""The one-dimensional code: n symbols of which any k give the other ones.

The first k symbols are the source symbols themselves; the other r = n - k are repair symbols. Each stands for a point
of the field, and there are two constructions, chosen by `is_high_rate`, with chunks of m points (a power of two)::

    high rate (m >= r)   repair j at point j,    source i at point m + i    zero from m + k on
    low rate  (m >= k)   source i at point i,    repair j at point m + j    zero at k..m-1

    k = 3, r = 1   m = 1   the repair symbol is the XOR of the source symbols
    k = 2, r = 2   m = 2   repair 0 = 3 a + 2 b,  repair 1 = 2 a + 3 b

Encoding is a transform per chunk (`transform.py`). The same as a matrix: `Code.generator`, which the tests hold
against it. Decoding multiplies by a matrix if little is missing, else it transforms, differentiates and transforms
back. Rows are arrays of lanes (`lanes.py`) that are coded alike and independently of each other.

`encode_symbols` and `decode_symbols` code many words in one call, by native kernels where they are in place (`use`),
else by the plain versions here; both give the same bytes.

Source: `reed-solomon-simd`, `rate_high.rs`, `rate_low.rs`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from haulout.codec import transform
from haulout.codec.galois import ORDER, Lanes, Logs, logs, multiply_logs, powers
from haulout.codec.lanes import Symbols, to_lanes, to_symbols

BATCH_LANES = 16384  # that numpy codes at a time: the rows of a batch should stay in the caches
BATCH_BYTES_MIN = 1 << 20
BATCHES_MIN = 8  # if they need not be smaller than that: several threads want some of them
BATCH_BYTES = 1 << 22  # of all symbols of the words that native kernels are given at a time, for the same reason
MATRIX_PENALTY = 2  # a product by logarithms costs so much more than one of the transform
NATIVE_MATRIX_PENALTY = 0.75  # in vector registers it costs less: nothing is stored between products


class NativeDecoder(Protocol):
    """Computes the missing symbols of words that have lost the same ones."""

    def decode(self, received: Sequence[Symbols], out: Sequence[Symbols]) -> None:
        """As `Decoder.decode_symbols`."""


class NativeKernels(Protocol):
    """What `codec.kernels.strips` offers."""

    def encode(self, source: Symbols, out: Symbols, *, chunk: int, is_high_rate: bool) -> None:
        """As `Code.encode_symbols`."""

    def matrix_decoder(self, exponents: Logs) -> NativeDecoder:
        """By the direct form, from the logarithms of its matrix (missing, received)."""

    def transform_decoder(
        self,
        points: NDArray[np.int64],
        locators: Logs,
        missing_points: NDArray[np.int64],
        missing_locators: Logs,
        n_points: int,
    ) -> NativeDecoder:
        """Through the error locator, whose logarithms at the points of received and missing symbols are given."""


_native: NativeKernels | None = None


def use(native: NativeKernels | None) -> None:
    """From now on code words by these kernels, or plainly if None; calls that run finish as they began."""
    global _native
    _native = native


@dataclass(frozen=True)
class Code:
    """A systematic code of `n_symbols` symbols, any `n_source` of which determine the others."""

    n_source: int
    n_symbols: int

    def __post_init__(self) -> None:
        assert 0 < self.n_source < self.n_symbols
        assert self.chunk + max(self.n_source, self.n_repair) <= 1 << 16

    @property
    def n_repair(self) -> int:
        return self.n_symbols - self.n_source

    @cached_property
    def is_high_rate(self) -> bool:
        """Which construction: that with the smaller chunk. With equal ones both give the same symbols."""
        source_chunk, repair_chunk = _power_of_two(self.n_source), _power_of_two(self.n_repair)
        return source_chunk > repair_chunk or (source_chunk == repair_chunk and self.n_source <= self.n_repair)

    @cached_property
    def chunk(self) -> int:
        """m: points per transform."""
        return _power_of_two(self.n_repair if self.is_high_rate else self.n_source)

    def point(self, index: int) -> int:
        """The point at which a symbol stands."""
        if self.is_high_rate:
            return self.chunk + index if index < self.n_source else index - self.n_source
        return index if index < self.n_source else self.chunk + index - self.n_source

    @cached_property
    def generator(self) -> Lanes:
        """The repair symbols as a matrix over the source symbols, (n_repair, n_source), in closed form."""
        source = np.arange(self.n_source)[None, :]
        repair = np.arange(self.n_repair)[:, None]
        x, other = (self.chunk + source, repair) if self.is_high_rate else (self.chunk + repair, source)
        exponents: Logs = logs()[x >> (self.chunk.bit_length() - 1)] - logs()[x ^ other]
        return powers()[exponents % ORDER]

    def encode(self, source: Lanes) -> Lanes:
        """Repair rows (n_repair, lanes) of source rows (n_source, lanes)."""
        return self._encode_high(source) if self.is_high_rate else self._encode_low(source)

    def _encode_high(self, source: Lanes) -> Lanes:
        total = np.zeros((self.chunk, source.shape[1]), np.uint16)
        rows = np.empty_like(total)
        for start in range(0, self.n_source, self.chunk):
            count = min(self.chunk, self.n_source - start)
            rows[:count] = source[start : start + count]
            rows[count:] = 0
            transform.inverse(rows, start + self.chunk, count)
            total ^= rows
        transform.forward(total, 0, self.n_repair)
        return total[: self.n_repair]

    def _encode_low(self, source: Lanes) -> Lanes:
        coefficients = np.zeros((self.chunk, source.shape[1]), np.uint16)
        coefficients[: self.n_source] = source
        transform.inverse(coefficients, 0, self.n_source)
        repair = np.empty((self.n_repair, source.shape[1]), np.uint16)
        for start in range(0, self.n_repair, self.chunk):
            count = min(self.chunk, self.n_repair - start)
            rows = coefficients.copy()
            transform.forward(rows, start + self.chunk, count)
            repair[start : start + count] = rows[:count]
        return repair

    def encode_symbols(self, source: Symbols, out: Symbols) -> None:
        """Write the repair symbols of many words: source (n_source, words, s), out (n_repair, words, s).

        Both may be strided in their first two axes.
        """
        if _native is not None:
            _native.encode(source, out, chunk=self.chunk, is_high_rate=self.is_high_rate)
        else:
            self.encode_plainly(source, out)

    def encode_plainly(self, source: Symbols, out: Symbols) -> None:
        """What a kernel does: `encode_symbols`."""
        for words in self.batches(source.shape[1], source.shape[2]):
            to_symbols(_over_words(self.encode, to_lanes(source[:, words])), out[:, words])

    def batches(self, n_words: int, symbol_size_bytes: int) -> list[slice]:
        """Consecutive words that stay in the caches while they are coded and hashed."""
        if _native is not None:
            word_bytes = self.n_symbols * symbol_size_bytes
            share = n_words * word_bytes // BATCHES_MIN
            step = min(BATCH_BYTES, max(BATCH_BYTES_MIN, share)) // word_bytes
        else:
            step = 2 * BATCH_LANES // symbol_size_bytes
        step = max(1, step)
        return [slice(start, min(start + step, n_words)) for start in range(0, n_words, step)]

    def decoder(self, received: Sequence[int]) -> Decoder:
        """A decoder for words of which these symbols are there: `n_source` distinct indices, ascending."""
        return _decoder(self, tuple(received))


class Decoder:
    """Computes the source symbols that are missing among those received. The same losses share one decoder."""

    def __init__(self, code: Code, received: tuple[int, ...]) -> None:
        assert len(received) == code.n_source and all(a < b for a, b in pairwise(received))
        self.code = code
        self.received = received
        present = frozenset(received)
        self.missing = tuple(index for index in range(code.n_source) if index not in present)
        self._points = np.array([code.point(index) for index in received])
        self._missing_points = np.array([code.point(index) for index in self.missing], np.int64)
        size = code.chunk + (code.n_source if code.is_high_rate else code.n_repair)
        self._n_points = _power_of_two(size)
        self._locators = self._locators_at(self._points)
        self._missing_locators = self._locators_at(self._missing_points)
        self._native: NativeDecoder | None = None

    def decode(self, rows: Lanes) -> Lanes:
        """Missing source rows (len(missing), lanes) of received rows (n_source, lanes), in the order of `received`."""
        if not self.missing:
            return rows[:0]
        by_matrix = self.uses_matrix(MATRIX_PENALTY)
        return self.decode_by_matrix(rows) if by_matrix else self.decode_by_transform(rows)

    def uses_matrix(self, penalty: float) -> bool:
        """Whether the direct form takes fewer products than the transforms."""
        products = len(self.missing) * self.code.n_source
        return penalty * products < self._n_points * (self._n_points.bit_length() - 1)

    @cached_property
    def exponents(self) -> Logs:
        """Logarithms of the matrix that makes the missing symbols from the received ones, (missing, received)."""
        distances = logs()[self._points[None, :] ^ self._missing_points[:, None]]
        exponents: Logs = (self._locators[None, :] - self._missing_locators[:, None] - distances) % ORDER
        return exponents

    def decode_by_matrix(self, rows: Lanes) -> Lanes:
        """The direct form: each missing row is a sum of multiples of the received ones."""
        found = np.zeros((len(self.missing), rows.shape[1]), np.uint16)
        for row, exponent in zip(rows, self.exponents.T, strict=True):
            row_logs = logs().take(row)
            for target, factor in zip(found, exponent, strict=True):
                target ^= multiply_logs(int(factor), row_logs)
        return found

    def decode_by_transform(self, rows: Lanes) -> Lanes:
        """The same through the error locator: multiply by it, interpolate, differentiate, evaluate, divide by it."""
        word = np.zeros((self._n_points, rows.shape[1]), np.uint16)
        for point, row, locator in zip(self._points, rows, self._locators, strict=True):
            word[point] = multiply_logs(int(locator), logs().take(row))
        transform.inverse(word, 0, int(self._points.max()) + 1)
        for i in range(1, self._n_points):
            width = i & -i
            word[i - width : i] ^= word[i : i + width]
        transform.forward(word, 0, int(self._missing_points.max()) + 1)
        found = np.empty((len(self.missing), rows.shape[1]), np.uint16)
        for target, point, locator in zip(found, self._missing_points, self._missing_locators, strict=True):
            target[:] = multiply_logs((ORDER - int(locator)) % ORDER, logs().take(word[point]))
        return found

    def decode_symbols(self, received: Sequence[Symbols], out: Sequence[Symbols]) -> None:
        """Write the missing symbols of many words.

        Args:
            received: per received index, in order, that symbol of every word: (words, s), strided in its first axis.
            out: the same per missing index.
        """
        if not self.missing:
            return
        if _native is None:
            self.decode_plainly(received, out)
            return
        if self._native is None:
            self._native = self.native(_native, by_matrix=self.uses_matrix(NATIVE_MATRIX_PENALTY))
        self._native.decode(received, out)

    def decode_plainly(self, received: Sequence[Symbols], out: Sequence[Symbols]) -> None:
        """What a kernel does: `decode_symbols`, with something missing."""
        n_words, size = received[0].shape
        for words in self.code.batches(n_words, size):
            symbols = np.stack([row[words] for row in received])
            for target, lanes in zip(out, _over_words(self.decode, to_lanes(symbols)), strict=True):
                to_symbols(lanes, target[words])

    def native(self, kernels: NativeKernels, *, by_matrix: bool) -> NativeDecoder:
        """What a kernel needs to know of the losses."""
        if by_matrix:
            return kernels.matrix_decoder(self.exponents)
        return kernels.transform_decoder(
            self._points, self._locators, self._missing_points, self._missing_locators, self._n_points
        )

    def _locators_at(self, points: NDArray[np.int64]) -> Logs:
        """Logarithm of the error locator at points: the sum of log(point + e) over all other erased points e.

        At low rate everything behind the word is erased as well. All logarithms together sum to zero, so there it is
        minus the sum over the few points that are *not* erased: the received ones and the zeros of the padding.
        """
        code = self.code
        if code.is_high_rate:
            used = frozenset(int(point) for point in self._points)
            counted = [point for point in range(code.chunk + code.n_source) if point not in used]
        else:
            counted = [*(int(point) for point in self._points), *range(code.n_source, code.chunk)]
        distances = points[:, None] ^ np.array(counted, np.int64)[None, :]
        sums: NDArray[np.int64] = np.where(distances == 0, 0, logs()[distances]).sum(axis=1, dtype=np.int64)
        locators: NDArray[np.int64] = (sums if code.is_high_rate else -sums) % ORDER
        return locators.astype(np.int32)


@lru_cache(maxsize=64)
def code_of(n_source: int, n_symbols: int) -> Code:
    """The code with these numbers; codes keep their generators."""
    return Code(n_source, n_symbols)


@lru_cache(maxsize=32)
def _decoder(code: Code, received: tuple[int, ...]) -> Decoder:
    return Decoder(code, received)


def _over_words(function: Callable[[Lanes], Lanes], lanes: Lanes) -> Lanes:
    """Apply a function of (symbols, lanes) to (symbols, words, lanes): words side by side in one wide row."""
    count, words, width = lanes.shape
    result = function(lanes.reshape(count, words * width))
    return result.reshape(result.shape[0], words, width)


def _power_of_two(x: int) -> int:
    """The smallest power of two that is at least x."""
    return 1 << (x - 1).bit_length()
