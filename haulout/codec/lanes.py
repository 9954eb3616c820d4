"""Symbols of bytes to lanes of 16-bit elements and back.

The code works on elements, each made of a low and a high byte of one symbol. Within a symbol the bytes stand in blocks
of 64, the low bytes in the first half of a block and the high bytes in the second; a shorter last block has two halves
as well. A symbol of 6 bytes `l0 l1 l2 h0 h1 h2` has the lanes `(l0,h0) (l1,h1) (l2,h2)`, one of 66 bytes has 32 lanes
from its first 64 bytes and a last one from bytes 64 and 65.

Source: `reed-solomon-simd`, `engine/shards.rs`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from haulout.codec.galois import Lanes

Symbols = NDArray[np.uint8]  # (..., symbol_size_bytes), the last axis contiguous

BLOCK_BYTES = 64
_ELEMENT = np.dtype("<u2")


def to_lanes(symbols: Symbols) -> Lanes:
    """Lanes of symbols (..., s): a new array (..., s // 2)."""
    size = symbols.shape[-1]
    if size < BLOCK_BYTES:
        return symbols.take(_order_of_bytes(size), axis=-1).view(_ELEMENT)
    lanes = np.empty((*symbols.shape[:-1], size // 2), _ELEMENT)
    halves = lanes.view(np.uint8).reshape(*lanes.shape, 2)
    for in_symbols, in_lanes in _blocks(symbols, halves):
        in_lanes[..., 0] = in_symbols[..., 0, :]
        in_lanes[..., 1] = in_symbols[..., 1, :]
    return lanes


def to_symbols(lanes: Lanes, out: Symbols) -> None:
    """Write lanes (..., s // 2) as symbols into `out` (..., s); inverse of `to_lanes`."""
    halves = lanes.view(np.uint8).reshape(*lanes.shape, 2)
    for in_symbols, in_lanes in _blocks(out, halves):
        in_symbols[..., 0, :] = in_lanes[..., 0]
        in_symbols[..., 1, :] = in_lanes[..., 1]


def _blocks(symbols: Symbols, halves: Symbols) -> list[tuple[Symbols, Symbols]]:
    """Views of the full blocks and of the short last one: symbols as (..., 2, lanes), halves as (..., lanes, 2)."""
    size = symbols.shape[-1]
    n_full, rest = divmod(size, BLOCK_BYTES)
    cut = size - rest
    views = []
    if n_full:
        full = symbols[..., :cut].reshape(*symbols.shape[:-1], n_full, 2, BLOCK_BYTES // 2)
        views.append((full, halves[..., : cut // 2, :].reshape(*symbols.shape[:-1], n_full, BLOCK_BYTES // 2, 2)))
    if rest:
        short = symbols[..., cut:].reshape(*symbols.shape[:-1], 2, rest // 2)
        views.append((short, halves[..., cut // 2 :, :]))
    return views


@lru_cache(maxsize=BLOCK_BYTES)
def _order_of_bytes(size: int) -> NDArray[np.intp]:
    """Where in a short symbol the bytes of its lanes stand: l0 h0 l1 h1 …"""
    return np.arange(size).reshape(2, -1).T.ravel()
