"""The field GF(2^16) in Cantor representation, and products of whole rows.

An element is a 16-bit integer whose bit i selects the basis element b_i, where b_0 = 1 and b_(i+1)^2 + b_(i+1) = b_i.
Addition is XOR. Products go through logarithms to the base of the polynomial x: `a * b = exp[log a + log b]`. Checks
small enough for a pencil: 2 * 2 = 3, 2 * 3 = 1.

Zero has no logarithm. Here it has the marker `LOG_ZERO`, so large that every sum with it falls behind the last power,
where the table of powers is zero: products need no test for zero. Source: `reed-solomon-simd`, `engine/tables.rs`.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

Lanes = NDArray[np.uint16]  # field elements; "lanes" because each is coded by itself, like its neighbours
Logs = NDArray[np.int32]

ORDER = 65535  # of the multiplicative group
LOG_ZERO = 2 * ORDER
_POLYNOMIAL = 0x1002D
# fmt: off
_CANTOR_BASIS = (
    0x0001, 0xACCA, 0x3C0E, 0x163E, 0xC582, 0xED2E, 0x914C, 0x4012,
    0x6C98, 0x10D8, 0x6A72, 0xB900, 0xFDB8, 0xFB34, 0xFF38, 0x991E,
)
# fmt: on
CACHED_PRODUCT_TABLES = 128  # 128 KiB each


@cache
def logs() -> Logs:
    """Logarithm of every element, `LOG_ZERO` at 0; shape (65536,)."""
    power_log = np.empty(1 << 16, np.int32)
    element = 1
    for exponent in range(ORDER):
        power_log[element] = exponent
        element <<= 1
        if element >> 16:
            element ^= _POLYNOMIAL
    in_polynomial_basis = np.zeros(1, np.int32)
    for basis_element in _CANTOR_BASIS:
        in_polynomial_basis = np.concatenate([in_polynomial_basis, in_polynomial_basis ^ basis_element])
    power_log[0] = LOG_ZERO
    return power_log[in_polynomial_basis]


@cache
def powers() -> Lanes:
    """The element of every sum of two logarithms, zero from `LOG_ZERO` on; shape (2 * LOG_ZERO + 1,)."""
    table = np.zeros(2 * LOG_ZERO + 1, np.uint16)
    table[logs()[1:]] = np.arange(1, 1 << 16, dtype=np.uint16)
    table[ORDER:LOG_ZERO] = table[:ORDER]
    return table


def multiply(a: int, b: int) -> int:
    """The product of two elements."""
    table = logs()
    return int(powers()[table[a] + table[b]])


def divide(a: int, b: int) -> int:
    """The quotient of two elements; `b` is not zero."""
    assert b
    return int(powers()[logs()[a] + ORDER - logs()[b]]) if a else 0


@lru_cache(maxsize=CACHED_PRODUCT_TABLES)
def product_table(factor: int) -> Lanes:
    """`factor` times every element, shape (65536,): made from the products of low and high bytes, by linearity."""
    log_factor = int(logs()[factor])
    low = powers()[logs()[:256] + log_factor]
    high = powers()[logs()[::256] + log_factor]
    return np.bitwise_xor(high[:, None], low[None, :]).reshape(-1)


def take_products(table: Lanes, elements: Lanes, out: Lanes) -> None:
    """Write the products of a `product_table` with elements into `out` of the same shape."""
    table.take(elements, out=out, mode="wrap")  # "wrap" spares the check of bounds; a u16 has none to break


def multiply_logs(a: Logs | int, b: Logs) -> Lanes:
    """The products of elements given by their logarithms, broadcast against each other."""
    sums: Logs = np.add(a, b)
    return powers().take(sums, mode="wrap")
