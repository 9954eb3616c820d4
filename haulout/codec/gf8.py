"""The one-dimensional code of RS8: Reed-Solomon over GF(2^8), byte by byte, as a matrix.

The code is the systematic one of `reedsolo.RSCodec(nsym=r, nsize=n, fcr=0, prim=0x11d, generator=2)`: byte j of the k
source symbols is a message of k bytes, the remainder of that message times x^r modulo g(x) = (x - 1)(x - 2)(x - 4)…
is byte j of the r repair symbols. It is linear, so the repair symbols are a matrix times the source symbols, whose
column i is the remainder of x^(n - 1 - i): each column is the one to its right times x. The smallest case, n = 4::

    k = 3, r = 1    g = x - 1              repair = a + b + c                     a row's: the XOR of its symbols
    k = 2, r = 2    g = x^2 + 3 x + 2      repair 0 = 7 a + 3 b,  repair 1 = 6 a + 2 b

Any k of the n symbols give the others: of m missing source symbols, m received repair symbols minus what the present
source symbols contribute are an m x m system. The tests hold all of it against `reedsolo`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haulout.codec.lanes import Symbols

POLYNOMIAL = 0x11D
GENERATOR = 2
PLAIN_BATCH_BYTES = 32768  # of a symbol, coded at a time by numpy: they should stay in the cache

Bytes = NDArray[np.uint8]


@lru_cache(maxsize=1)
def products() -> Bytes:
    """All products of the field, (256, 256)."""
    a, b = np.arange(256, dtype=np.uint16)[:, None], np.arange(256, dtype=np.uint16)[None, :]
    total: NDArray[np.uint16] = np.zeros((256, 256), np.uint16)
    for bit in range(8):
        total ^= b * (a >> bit & 1)
        b = np.where(b & 0x80, b << 1 ^ POLYNOMIAL, b << 1).astype(np.uint16)
    return total.astype(np.uint8)


@lru_cache(maxsize=1)
def inverses() -> Bytes:
    """1 / a by a; of zero it is zero."""
    found: Bytes = (products() == 1).argmax(axis=1).astype(np.uint8)
    return found


@dataclass(eq=False)
class Matrix:
    """A constant matrix over the field, with what the native kernel has made of it."""

    values: Bytes  # (rows, columns)
    prepared: Any = field(default=None, repr=False)


Multiply = Callable[[Matrix, Sequence[Symbols], Sequence[Symbols]], None]
_native: Multiply | None = None


def use(multiply_natively: Multiply | None) -> None:
    """From now on multiply with this function, or with numpy if None; calls that run finish as they began."""
    global _native
    _native = multiply_natively


def multiply(matrix: Matrix, source: Sequence[Symbols], out: Sequence[Symbols]) -> None:
    """Write `matrix` times the source.

    Args:
        source: one array (words, s) per column of the matrix; the last axis is contiguous.
        out: one per row, of the same shape; none of them overlaps a source.
    """
    if len(out) and out[0].size:
        (_native or multiply_plainly)(matrix, source, out)


def multiply_plainly(matrix: Matrix, source: Sequence[Symbols], out: Sequence[Symbols]) -> None:
    """As `multiply`, by a table of all products."""
    table = products()
    n_words, size = source[0].shape
    step = max(1, PLAIN_BATCH_BYTES // size)
    for start in range(0, n_words, step):
        words = slice(start, min(start + step, n_words))
        pieces = [np.ascontiguousarray(symbols[words]).reshape(-1) for symbols in source]
        product = np.empty_like(pieces[0])
        for target, factors in zip(out, matrix.values, strict=True):
            total = np.zeros_like(pieces[0])
            for factor, piece in zip(factors, pieces, strict=True):
                if factor == 1:
                    total ^= piece
                elif factor:
                    table[factor].take(piece, out=product, mode="clip")
                    total ^= product
            target[words] = total.reshape(-1, size)


@dataclass(frozen=True)
class MatrixCode:
    """A systematic code of `n_symbols` symbols of bytes, any `n_source` of which determine the others."""

    n_source: int
    n_symbols: int

    def __post_init__(self) -> None:
        assert 0 < self.n_source < self.n_symbols <= 255

    @property
    def n_repair(self) -> int:
        return self.n_symbols - self.n_source

    @cached_property
    def generator(self) -> Matrix:
        """The repair symbols over the source symbols, (n_repair, n_source)."""
        table = products()
        polynomial = np.array([1], np.uint8)  # highest power first
        root = 1
        for _ in range(self.n_repair):
            polynomial = np.append(polynomial, np.uint8(0)) ^ np.append(np.uint8(0), table[root][polynomial])
            root = int(table[GENERATOR, root])
        low = polynomial[1:]
        columns = np.empty((self.n_source, self.n_repair), np.uint8)
        remainder = low
        for index in reversed(range(self.n_source)):
            columns[index] = remainder
            remainder = np.append(remainder[1:], np.uint8(0)) ^ table[remainder[0]][low]
        return Matrix(np.ascontiguousarray(columns.T))

    def encode_symbols(self, source: Sequence[Symbols], out: Sequence[Symbols]) -> None:
        """Write the repair symbols of many words: `n_source` arrays (words, s) to `n_repair` ones."""
        multiply(self.generator, source, out)

    def decoder(self, received: Sequence[int]) -> MatrixDecoder:
        """A decoder for words of which these symbols are there: `n_source` distinct indices, ascending."""
        return _decoder(self, tuple(received))


class MatrixDecoder:
    """Computes the source symbols that are missing among those received. The same losses share one decoder."""

    def __init__(self, code: MatrixCode, received: tuple[int, ...]) -> None:
        assert len(received) == code.n_source and all(a < b for a, b in pairwise(received))
        present = [index for index in received if index < code.n_source]
        repair = [index - code.n_source for index in received if index >= code.n_source]
        known = frozenset(present)
        self.received = received
        self.missing = tuple(index for index in range(code.n_source) if index not in known)
        rows = code.generator.values[repair]
        inverse = _invert(rows[:, list(self.missing)])
        self._matrix = Matrix(np.concatenate([_product(inverse, rows[:, present]), inverse], axis=1))

    def decode_symbols(self, received: Sequence[Symbols], out: Sequence[Symbols]) -> None:
        """Write the missing symbols of many words.

        Args:
            received: per received index, in order, that symbol of every word: (words, s).
            out: the same per missing index; may be strided.
        """
        multiply(self._matrix, received, out)


@lru_cache(maxsize=64)
def matrix_code(n_source: int, n_symbols: int) -> MatrixCode:
    """The one code of these numbers, with its generator."""
    return MatrixCode(n_source, n_symbols)


@lru_cache(maxsize=32)
def _decoder(code: MatrixCode, received: tuple[int, ...]) -> MatrixDecoder:
    return MatrixDecoder(code, received)


def _product(left: Bytes, right: Bytes) -> Bytes:
    """The product of two matrices."""
    table = products()
    total = np.zeros((left.shape[0], right.shape[1]), np.uint8)
    for column, row in zip(left.T, right, strict=True):
        total ^= table[column[:, None], row[None, :]]
    return total


def _invert(matrix: Bytes) -> Bytes:
    """The inverse of a regular square matrix, by elimination."""
    table, inverse = products(), inverses()
    size = len(matrix)
    work = np.concatenate([matrix, np.eye(size, dtype=np.uint8)], axis=1)
    for column in range(size):
        pivot = column + int((work[column:, column] != 0).argmax())
        assert work[pivot, column], "any k symbols determine the others"
        work[[column, pivot]] = work[[pivot, column]]
        work[column] = table[inverse[work[column, column]]][work[column]]
        factors = work[:, column].copy()
        factors[column] = 0
        work ^= table[factors[:, None], work[column][None, :]]
    return np.ascontiguousarray(work[:, size:])
