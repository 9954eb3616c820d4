"""Expanding words of symbols and hashing what comes out: the inner loop of encoding and of every check.

A word is a row or a column of the expanded matrix: its source symbols, then its repair symbols. Its hash is the Merkle
root over all of them, so whoever wants to check a sliver has to expand it. Of the time this takes, hashing is the
larger part: with hashlib 0.5 us per symbol and 0.4 us per inner node, plus 1.3 us per KiB; with native kernels 0.03 us
and 0.35 us per KiB (`crypto.batch`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from haulout.codec.lanes import Symbols
from haulout.codec.reed_solomon import Code
from haulout.crypto.batch import DIGEST_BYTES, Digests, hash_leaves


def expand_words(code: Code, source: Symbols, keep: Symbols | None = None) -> Digests:
    """The leaf hashes of words, in order: (words, n, 32).

    Args:
        source: (n_source, words, s).
        keep: where to write the repair symbols, (n_repair, words, s).
    """
    k, n_words, size = source.shape
    leaves = np.empty((n_words, code.n_symbols, DIGEST_BYTES), np.uint8)
    for words in code.batches(n_words, size):
        known = source[:, words]
        repair = np.empty((code.n_repair, known.shape[1], size), np.uint8) if keep is None else keep[:, words]
        code.encode_symbols(known, repair)
        hash_leaves(known.transpose(1, 0, 2), leaves[words, :k])
        hash_leaves(repair.transpose(1, 0, 2), leaves[words, k:])
    return leaves


def expand_word(code: Code, source: Symbols) -> Symbols:
    """All n symbols (n, s) of one word of source symbols (n_source, s)."""
    symbols = np.empty((code.n_symbols, source.shape[1]), np.uint8)
    symbols[: code.n_source] = source
    code.encode_symbols(source[:, None], symbols[code.n_source :, None])
    return symbols


def leaf_hashes(symbols: Symbols) -> list[bytes]:
    """The hash of every symbol (count, s) as a leaf of a Merkle tree."""
    leaves = np.empty((len(symbols), DIGEST_BYTES), np.uint8)
    hash_leaves(symbols[None], leaves[None])
    return [leaf.tobytes() for leaf in leaves]


def stack(rows: Sequence[Symbols]) -> Symbols:
    """Slivers (symbols, s) side by side as source of words: (symbols, slivers, s)."""
    return np.stack(rows, axis=1)
