"""The transforms of `codec.transform` in vector registers.

A chunk of 64 bytes holds 32 lanes, their low bytes in its first half and their high bytes in its second, which is how
symbols store their own blocks (`codec.lanes`). Multiplying a chunk by a constant is linear in its bits, so it takes
four 8x8 bit matrices, two for each half (GFNI), or eight tables of 16 bytes, one for each nibble (shuffles)::

    low'  = A low + B high         x * c = affine(x, [A|D]) ^ affine(swap_halves(x), [B|C])
    high' = C low + D high

Three layers of butterflies are done per pass over the rows. A block of 8 e rows that is number G of its layer needs
the skew elements 2 G (half-width 4 e), 4 G and 4 G + 2 (2 e), 8 G … 8 G + 6 (e): all of them even, so the table of
constants has the element 2 i at place i. Blocks that start at point 0 have some skew elements that are zero; they have
kernels of their own (`at_zero`).

Equal to the plain versions byte for byte; the tests compare them. Source: `reed-solomon-simd`, `engine_avx2.rs`.
"""

# mypy: disallow-untyped-decorators=False, disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disable-error-code="call-arg,import-untyped,var-annotated"

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from haulout.codec.galois import Lanes, Logs, logs, multiply_logs, powers
from haulout.crypto.simd import (
    INSTRUCTION_SET,
    affine,
    high_nibbles,
    load,
    load_matrix_per_half,
    load_table_per_half,
    lookup,
    low_nibbles,
    store,
    swap_halves,
    zero,
)

Constants = NDArray[np.uint8]  # (count, CONSTANT_BYTES): what the CPU's way to multiply wants to know of an element

CONSTANT_BYTES: Final = 32 if INSTRUCTION_SET == "gfni" else 128


# --- constants ----------------------------------------------------------------------------------------------


def constants_of(elements: Lanes) -> Constants:
    """Multipliers by elements (count,). They are linear in the element: the sum of those of its two bytes."""
    low, high = _constants_of_bytes()
    constants: Constants = low[elements & np.uint16(255)] ^ high[elements >> np.uint16(8)]
    return constants


@cache
def _constants_of_bytes() -> tuple[Constants, Constants]:
    """Constants of the elements 0, 1 … 255 and of 0, 256 … 65280."""
    elements = np.arange(256, dtype=np.uint16)
    return _make_constants(elements), _make_constants(elements << np.uint16(8))


def _make_constants(elements: Lanes) -> Constants:
    of_bits = multiply_logs(logs()[elements][:, None], logs()[1 << np.arange(16)][None, :])  # (count, 16)
    if INSTRUCTION_SET == "gfni":
        low, high = of_bits & np.uint16(255), of_bits >> np.uint16(8)
        parts = (low[:, :8], high[:, 8:], low[:, 8:], high[:, :8])  # A D B C
        return np.ascontiguousarray(np.stack([_bit_matrices(part) for part in parts], axis=1).view(np.uint8))
    nibbles = np.zeros((4, len(elements), 16), np.uint16)
    for place, table in enumerate(nibbles):
        for bit in range(4):
            table[:, [value for value in range(16) if value >> bit & 1]] ^= of_bits[:, 4 * place + bit, None]
    low_of, high_of = nibbles.astype(np.uint8), (nibbles >> 8).astype(np.uint8)
    order = (low_of[0], high_of[2], low_of[1], high_of[3], low_of[2], high_of[0], low_of[3], high_of[1])
    return np.concatenate(order, axis=1)


def constants_of_logs(element_logs: Logs) -> Constants:
    """Multipliers by elements given by their logarithms (count,), below `LOG_ZERO` or it."""
    return constants_of(powers()[element_logs])


def _bit_matrices(images: Lanes) -> NDArray[np.uint64]:
    """The images of eight input bits (count, 8) as matrices (count,) that `vgf2p8affineqb` understands."""
    rows = np.zeros((len(images), 8), np.uint8)
    for bit in range(8):
        rows[:, 7 - bit] = np.packbits((images >> bit & 1).astype(np.uint8), axis=1, bitorder="little")[:, 0]
    matrices: NDArray[np.uint64] = rows.view("<u8")[:, 0]
    return matrices


@lru_cache(maxsize=4)
def skew_constants(count: int) -> Constants:
    """Constants of the elements 0, 2, 4 …"""
    return constants_of(np.arange(0, 2 * count, 2).astype(np.uint16))


if INSTRUCTION_SET == "gfni":

    @njit(inline="always")
    def constant_at(address):
        return load_matrix_per_half(address), load_matrix_per_half(address + 16)

    @njit(inline="always")
    def times(chunk, constant):
        return affine(chunk, constant[0]) ^ affine(swap_halves(chunk), constant[1])

else:

    @njit(inline="always")
    def constant_at(address):
        return (
            load_table_per_half(address),
            load_table_per_half(address + 32),
            load_table_per_half(address + 64),
            load_table_per_half(address + 96),
        )

    @njit(inline="always")
    def times(chunk, constant):
        low, high = low_nibbles(chunk), high_nibbles(chunk)
        straight = lookup(constant[0], low) ^ lookup(constant[1], high)
        return straight ^ lookup(constant[2], swap_halves(low)) ^ lookup(constant[3], swap_halves(high))


# --- butterflies --------------------------------------------------------------------------------------------
# All of them read rows `first, first + step …` at `source`, write those at `target`, and take the constants of block
# `group`. A row is `width` bytes, the next one begins `pitch` bytes further on.

_BUTTERFLY = "void(intp, intp, intp, intp, intp, intp, intp, intp)"


def _compile(function: Any, name: str) -> Any:
    """A butterfly under a name of its own: numba's cache on disk confuses variants of one function."""
    function.__name__ = function.__qualname__ = name
    return njit(_BUTTERFLY, nogil=True, cache=True)(function)


def _make_radix8(*, forward: bool, at_zero: bool) -> Any:
    def radix8(source, target, pitch, width, first, step, table, group):
        a = constant_at(table + group * CONSTANT_BYTES)
        b0 = constant_at(table + 2 * group * CONSTANT_BYTES)
        b1 = constant_at(table + (2 * group + 1) * CONSTANT_BYTES)
        c0 = constant_at(table + 4 * group * CONSTANT_BYTES)
        c1 = constant_at(table + (4 * group + 1) * CONSTANT_BYTES)
        c2 = constant_at(table + (4 * group + 2) * CONSTANT_BYTES)
        c3 = constant_at(table + (4 * group + 3) * CONSTANT_BYTES)
        apart = step * pitch
        for row in range(first, first + step):
            for at in range(row * pitch, row * pitch + width, 64):
                s = source + at
                x0, x1, x2, x3 = load(s), load(s + apart), load(s + 2 * apart), load(s + 3 * apart)
                s += 4 * apart
                x4, x5, x6, x7 = load(s), load(s + apart), load(s + 2 * apart), load(s + 3 * apart)
                if forward:
                    if not at_zero:
                        x0 = x0 ^ times(x4, a)
                        x1 = x1 ^ times(x5, a)
                        x2 = x2 ^ times(x6, a)
                        x3 = x3 ^ times(x7, a)
                    x4, x5, x6, x7 = x4 ^ x0, x5 ^ x1, x6 ^ x2, x7 ^ x3
                    if not at_zero:
                        x0 = x0 ^ times(x2, b0)
                        x1 = x1 ^ times(x3, b0)
                    x4 = x4 ^ times(x6, b1)
                    x5 = x5 ^ times(x7, b1)
                    x2, x3, x6, x7 = x2 ^ x0, x3 ^ x1, x6 ^ x4, x7 ^ x5
                    if not at_zero:
                        x0 = x0 ^ times(x1, c0)
                    x2 = x2 ^ times(x3, c1)
                    x4 = x4 ^ times(x5, c2)
                    x6 = x6 ^ times(x7, c3)
                    x1, x3, x5, x7 = x1 ^ x0, x3 ^ x2, x5 ^ x4, x7 ^ x6
                else:
                    x1, x3, x5, x7 = x1 ^ x0, x3 ^ x2, x5 ^ x4, x7 ^ x6
                    if not at_zero:
                        x0 = x0 ^ times(x1, c0)
                    x2 = x2 ^ times(x3, c1)
                    x4 = x4 ^ times(x5, c2)
                    x6 = x6 ^ times(x7, c3)
                    x2, x3, x6, x7 = x2 ^ x0, x3 ^ x1, x6 ^ x4, x7 ^ x5
                    if not at_zero:
                        x0 = x0 ^ times(x2, b0)
                        x1 = x1 ^ times(x3, b0)
                    x4 = x4 ^ times(x6, b1)
                    x5 = x5 ^ times(x7, b1)
                    x4, x5, x6, x7 = x4 ^ x0, x5 ^ x1, x6 ^ x2, x7 ^ x3
                    if not at_zero:
                        x0 = x0 ^ times(x4, a)
                        x1 = x1 ^ times(x5, a)
                        x2 = x2 ^ times(x6, a)
                        x3 = x3 ^ times(x7, a)
                t = target + at
                store(t, x0)
                store(t + apart, x1)
                store(t + 2 * apart, x2)
                store(t + 3 * apart, x3)
                t += 4 * apart
                store(t, x4)
                store(t + apart, x5)
                store(t + 2 * apart, x6)
                store(t + 3 * apart, x7)

    return _compile(radix8, f"{'forward' if forward else 'inverse'}8{'_at_zero' if at_zero else ''}")


_forward8 = _make_radix8(forward=True, at_zero=False)
_forward8_at_zero = _make_radix8(forward=True, at_zero=True)
_inverse8 = _make_radix8(forward=False, at_zero=False)
_inverse8_at_zero = _make_radix8(forward=False, at_zero=True)


def _make_radix4(*, forward: bool) -> Any:
    def radix4(source, target, pitch, width, first, step, table, group):
        a = constant_at(table + group * CONSTANT_BYTES)
        b0 = constant_at(table + 2 * group * CONSTANT_BYTES)
        b1 = constant_at(table + (2 * group + 1) * CONSTANT_BYTES)
        apart = step * pitch
        for row in range(first, first + step):
            for at in range(row * pitch, row * pitch + width, 64):
                s = source + at
                x0, x1, x2, x3 = load(s), load(s + apart), load(s + 2 * apart), load(s + 3 * apart)
                if forward:
                    x0 = x0 ^ times(x2, a)
                    x1 = x1 ^ times(x3, a)
                    x2, x3 = x2 ^ x0, x3 ^ x1
                    x0 = x0 ^ times(x1, b0)
                    x2 = x2 ^ times(x3, b1)
                    x1, x3 = x1 ^ x0, x3 ^ x2
                else:
                    x1, x3 = x1 ^ x0, x3 ^ x2
                    x0 = x0 ^ times(x1, b0)
                    x2 = x2 ^ times(x3, b1)
                    x2, x3 = x2 ^ x0, x3 ^ x1
                    x0 = x0 ^ times(x2, a)
                    x1 = x1 ^ times(x3, a)
                t = target + at
                store(t, x0)
                store(t + apart, x1)
                store(t + 2 * apart, x2)
                store(t + 3 * apart, x3)

    return _compile(radix4, f"{'forward' if forward else 'inverse'}4")


_forward4 = _make_radix4(forward=True)
_inverse4 = _make_radix4(forward=False)


def _make_radix2(*, forward: bool) -> Any:
    def radix2(source, target, pitch, width, first, step, table, group):
        a = constant_at(table + group * CONSTANT_BYTES)
        apart = step * pitch
        for row in range(first, first + step):
            for at in range(row * pitch, row * pitch + width, 64):
                x0, x1 = load(source + at), load(source + at + apart)
                if forward:
                    x0 = x0 ^ times(x1, a)
                    x1 = x1 ^ x0
                else:
                    x1 = x1 ^ x0
                    x0 = x0 ^ times(x1, a)
                store(target + at, x0)
                store(target + at + apart, x1)

    return _compile(radix2, f"{'forward' if forward else 'inverse'}2")


_forward2 = _make_radix2(forward=True)
_inverse2 = _make_radix2(forward=False)


# --- transforms ---------------------------------------------------------------------------------------------


@njit("void(intp, intp, intp, intp, intp, intp)", nogil=True, cache=True)
def _copy_rows(source, target, pitch, width, start, stop):
    for row in range(start, stop):
        for at in range(row * pitch, row * pitch + width, 64):
            store(target + at, load(source + at))


@njit("void(intp, intp, intp, intp, intp)", nogil=True, cache=True)
def clear_rows(target, pitch, width, start, stop):
    for row in range(start, stop):
        for at in range(row * pitch, row * pitch + width, 64):
            store(target + at, zero())


@njit("void(intp, intp, intp, intp, intp, intp)", nogil=True, cache=True)
def add_rows(source, target, pitch, width, start, stop):
    for row in range(start, stop):
        for at in range(row * pitch, row * pitch + width, 64):
            store(target + at, load(target + at) ^ load(source + at))


@njit("void(intp, intp, intp, intp, intp, intp, intp)", nogil=True, cache=True)
def inverse(rows, pitch, width, n_rows, offset, n_used, table):
    """`transform.inverse` in place."""
    step = 1
    while step < n_rows:
        left = n_rows // step
        size = step * (8 if left >= 8 else left)
        for start in range(0, n_used, size):
            group = (start + offset) // size
            if size == 8 * step:
                if group == 0:
                    _inverse8_at_zero(rows, rows, pitch, width, start, step, table, group)
                else:
                    _inverse8(rows, rows, pitch, width, start, step, table, group)
            elif size == 4 * step:
                _inverse4(rows, rows, pitch, width, start, step, table, group)
            else:
                _inverse2(rows, rows, pitch, width, start, step, table, group)
        step = size


@njit("void(intp, intp, intp, intp, intp, intp, intp, intp)", nogil=True, cache=True)
def forward(source, rows, pitch, width, n_rows, offset, n_needed, table):
    """`transform.forward` from the rows at `source` to those at `rows`, which may be the same."""
    if n_rows == 1 and source != rows:
        _copy_rows(source, rows, pitch, width, 0, 1)
    size = n_rows
    while size > 1:
        step = size // (8 if size >= 8 else size)
        for start in range(0, n_needed, size):
            group = (start + offset) // size
            if size == 8 * step:
                if group == 0:
                    _forward8_at_zero(source, rows, pitch, width, start, step, table, group)
                else:
                    _forward8(source, rows, pitch, width, start, step, table, group)
            elif size == 4 * step:
                _forward4(source, rows, pitch, width, start, step, table, group)
            else:
                _forward2(source, rows, pitch, width, start, step, table, group)
        source = rows
        size = step
