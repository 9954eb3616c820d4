"""The additive Fourier transform over GF(2^16) on rows of lanes.

A transform of m rows (m a power of two) takes the values at m consecutive points to coefficients (`inverse`) or back
(`forward`), at the points `offset … offset + m - 1`, in log2(m) layers of butterflies. A butterfly of half-width
d = 2^a on rows i and i + d of the block that starts at p multiplies with the *skew element* (p + offset) >> a, read as
a field element: that shift is all that is left of the subspace polynomials in this basis. m = 2, offset = 2, skew 2::

    inverse: (u, v) -> v' = v + u,  u' = u + 2 v'          forward: (u', v') -> u = u' + 2 v',  v = v' + u

Rows known to be zero, and rows that nobody needs, are skipped block by block.

Two ways to the same result: wide rows are multiplied block by block through a table of all products of the skew
element; for narrow ones the calls would cost more than the work, so a whole layer goes through logarithms at once.

Source: Lin, Chung, Han: Novel polynomial basis; `reed-solomon-simd`, `engine_naive.rs`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from haulout.codec.galois import Lanes, Logs, logs, multiply_logs, product_table, take_products

WIDE_LANES = 2500  # from this many lanes on a table per skew element is faster than logarithms


def inverse(rows: Lanes, offset: int, n_used: int) -> None:
    """Values to coefficients, in place; rows from `n_used` on are zero on entry.

    Args:
        rows: (m, lanes), contiguous, m a power of two.
        offset: first point; a multiple of m.
    """
    half = 1
    while half < rows.shape[0]:
        n_blocks = -(-n_used // (2 * half))
        if rows.shape[1] < WIDE_LANES:
            lower, upper = _halves(rows, half, n_blocks)
            upper ^= lower
            lower ^= multiply_logs(logs().take(upper), _skew_logs(half, n_blocks, offset))
        else:
            scratch = np.empty((half, rows.shape[1]), np.uint16)
            for start in range(0, 2 * half * n_blocks, 2 * half):
                lower, upper = rows[start : start + half], rows[start + half : start + 2 * half]
                upper ^= lower
                _add_product(lower, upper, _skew(start, half, offset), scratch)
        half *= 2


def forward(rows: Lanes, offset: int, n_needed: int) -> None:
    """Coefficients to values, in place; rows from `n_needed` on are left undefined. Arguments as for `inverse`."""
    half = rows.shape[0] // 2
    while half:
        n_blocks = -(-n_needed // (2 * half))
        if rows.shape[1] < WIDE_LANES:
            lower, upper = _halves(rows, half, n_blocks)
            lower ^= multiply_logs(logs().take(upper), _skew_logs(half, n_blocks, offset))
            upper ^= lower
        else:
            scratch = np.empty((half, rows.shape[1]), np.uint16)
            for start in range(0, 2 * half * n_blocks, 2 * half):
                lower, upper = rows[start : start + half], rows[start + half : start + 2 * half]
                _add_product(lower, upper, _skew(start, half, offset), scratch)
                if start + half < n_needed:
                    upper ^= lower
        half //= 2


def _skew(start: int, half: int, offset: int) -> int:
    return (start + offset) >> (half.bit_length() - 1)


def _add_product(lower: Lanes, upper: Lanes, skew: int, scratch: Lanes) -> None:
    if skew:
        take_products(product_table(skew), upper, scratch)
        lower ^= scratch


def _halves(rows: Lanes, half: int, n_blocks: int) -> tuple[Lanes, Lanes]:
    """Lower and upper halves of the first blocks: views (n_blocks, half, lanes)."""
    blocks = rows[: 2 * half * n_blocks].reshape(n_blocks, 2, half, rows.shape[1])
    return blocks[:, 0], blocks[:, 1]


def _skew_logs(half: int, n_blocks: int, offset: int) -> Logs:
    """Logarithms of the skew elements of a layer's blocks, (n_blocks, 1, 1)."""
    shift = half.bit_length() - 1
    skews: NDArray[np.int64] = (np.arange(n_blocks) * 2 * half + offset) >> shift
    return logs()[skews][:, None, None]
