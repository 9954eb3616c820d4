"""Expanding words of symbols and hashing what comes out: the inner loop of encoding and of every check.

A word is a row or a column of the expanded matrix: its source symbols, then its repair symbols. Its hash is the Merkle
root over all of them, so whoever wants to check a sliver has to expand it. Of the time this takes, hashing is the
larger part: with hashlib 0.5 us per symbol and 0.4 us per inner node, plus 1.3 us per KiB; with native kernels 0.03 us
and 0.35 us per KiB (`crypto.batch`).

Words go in batches that stay in the caches: expanded, hashed, and the tree built, before the next batch is touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from haulout.codec import parallel
from haulout.codec.lanes import Symbols
from haulout.codec.parallel import Part
from haulout.codec.reed_solomon import Code
from haulout.codec.scratch import borrow
from haulout.crypto.batch import DIGEST_BYTES, Digests, compute_roots, hash_leaves


def expanding(
    code: Code,
    source: Symbols,
    roots: Digests,
    *,
    keep: Symbols | None = None,
    copy: Symbols | None = None,
    leaves: Digests | None = None,
) -> list[Part]:
    """Parts that expand and hash words, batch by batch.

    Args:
        source: (n_source, words, s), strided in its first two axes.
        roots: gets the hashes of the words, (words, 32).
        keep: gets the repair symbols, (n_repair, words, s).
        copy: gets the source symbols, (n_source, words, s).
        leaves: gets the hashes of all symbols, (words, n, 32).
    """

    def expand(words: slice) -> None:
        known = source[:, words]
        n_words, size = known.shape[1:]
        with (
            borrow(0 if keep is not None else code.n_repair, n_words, size) as spare,
            borrow(0 if leaves is not None else n_words, code.n_symbols, DIGEST_BYTES) as spare_hashes,
        ):
            repair = spare if keep is None else keep[:, words]
            hashes = spare_hashes if leaves is None else leaves[words]
            code.encode_symbols(known, repair)
            if copy is not None:
                copy[:, words] = known
            hash_leaves(known.transpose(1, 0, 2), hashes[:, : code.n_source])
            hash_leaves(repair.transpose(1, 0, 2), hashes[:, code.n_source :])
            roots[words] = compute_roots(hashes)

    return [partial(expand, words) for words in code.batches(source.shape[1], source.shape[2])]


def hash_words(code: Code, source: Symbols) -> Digests:
    """The hashes (words, 32) of words of source symbols (n_source, words, s)."""
    roots = np.empty((source.shape[1], DIGEST_BYTES), np.uint8)
    parallel.run(expanding(code, source, roots))
    return roots


def hash_separate_words(code: Code, words: Sequence[Symbols]) -> Digests:
    """As `hash_words` of source symbols that stand word by word: per word (n_source, s). At least one word."""
    roots = np.empty((len(words), DIGEST_BYTES), np.uint8)

    def expand(some: slice) -> None:
        if some.stop - some.start == 1:
            source = words[some.start][:, None]
        else:
            source = np.stack(words[some], axis=1)
        for part in expanding(code, source, roots[some]):
            part()

    parallel.run([partial(expand, some) for some in code.batches(len(words), words[0].shape[1])])
    return roots


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
