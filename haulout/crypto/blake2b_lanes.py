"""BLAKE2b-256 of many equally long messages, eight at a time, one in each 64-bit lane of wide vectors.

BLAKE2b works on 64-bit words, so eight messages fill a vector of 512 bits: the 16 words of the state are 16 vectors,
and an addition or rotation advances eight hashes at once. Where vectors are shorter, LLVM splits them. Blocks are read
where they stand, eight rows of 64 bytes that an 8x8 transpose turns into eight vectors of one word each::

    message 0:  a0 a1 … a7                   word 0:  a0 b0 … h0
    message 1:  b0 b1 … b7     transpose     word 1:  a1 b1 … h1
    …                          ────────►     …
    message 7:  h0 h1 … h7                   word 7:  a7 b7 … h7

Every message has a byte before it (00 leaf, 01 pair; `merkle.py`) that does not stand in memory: reading begins one
byte early, a mask drops what is no message, and the byte is or-ed in. Only where that would leave the caller's memory,
at the first message and at the last ones, blocks are copied first. A pair of nodes is read as two halves of 32 bytes
and shifted by that byte in registers; as all pairs are equally long, what is known of their words is left out.

One hash of up to 127 bytes costs 25 to 35 ns, with `hashlib` in a loop 500 to 700. Source: RFC 7693.
"""

# mypy: disallow-untyped-decorators=False, disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disable-error-code="call-arg,import-untyped"

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.extending import intrinsic
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from haulout.crypto.simd import I32, I64, WORDS, copy_bytes, load_vector, shuffle, store_vector

LANES: Final = 8
DIGEST_BYTES: Final = 32
BLOCK_BYTES: Final = 128
_IV: Final = (
    0x6A09E667F3BCC908,
    0xBB67AE8584CAA73B,
    0x3C6EF372FE94F82B,
    0xA54FF53A5F1D36F1,
    0x510E527FADE682D1,
    0x9B05688C2B3E6C1F,
    0x1F83D9ABFB41BD6B,
    0x5BE0CD19137E2179,
)
_PARAMETERS: Final = 0x01010020  # digest of 32 bytes, no key, fan-out 1, depth 1
_ORDER_OF_WORDS: Final = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
_ROUNDS: Final = 12
_TREES_BYTES: Final = 1 << 20  # of leaves whose trees are built together: they should stay in the cache
_COLUMNS_AND_DIAGONALS: Final = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)


def hash_rows(rows: NDArray[np.uint8], out: NDArray[np.uint8], prefix: int) -> None:
    """Write the digests of `prefix || row` for rows (outer, inner, length) into `out` (outer, inner, 32).

    Both may be strided in their first two axes. Releases the interpreter lock. `prefix` is a byte.
    """
    n_outer, n_inner, length = rows.shape
    assert out.shape == (n_outer, n_inner, DIGEST_BYTES) and out.flags.writeable
    assert out.strides[2] == 1 and (rows.strides[2] == 1 or length < 2)
    assert 0 <= prefix < 256
    if rows.size or not length:
        lowest, end = byte_bounds(rows) if length else (rows.ctypes.data, rows.ctypes.data)
        _hash_rows(
            rows.ctypes.data, n_outer, rows.strides[0], n_inner, rows.strides[1], length, lowest, end,
            out.ctypes.data, out.strides[0], out.strides[1], prefix, _START,
        )  # fmt: skip


def compute_roots(leaves: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Write the roots of trees over leaf hashes (trees, n, 32), n not zero, into `out` (trees, 32), contiguous.

    The leaves may be strided in their first two axes. Releases the interpreter lock.
    """
    n_trees, n_leaves, _ = leaves.shape
    assert n_leaves > 0 and out.shape == (n_trees, DIGEST_BYTES) and out.flags.c_contiguous
    if not n_trees:
        return
    assert leaves.strides[2] == 1
    step = max(8, _TREES_BYTES // (DIGEST_BYTES * n_leaves) // 8 * 8)
    scratch = np.empty((2, (n_leaves + 1) // 2 * min(step, n_trees), DIGEST_BYTES), np.uint8)
    _compute_roots(
        leaves.ctypes.data, n_trees, leaves.strides[0], n_leaves, leaves.strides[1], step,
        scratch[0].ctypes.data, scratch[1].ctypes.data, out.ctypes.data,
    )  # fmt: skip


def _start() -> NDArray[np.uint64]:
    state = np.array(_IV, np.uint64)
    state[0] ^= np.uint64(_PARAMETERS)
    return state


_START: Final = _start()


def _transpose(builder: Any, rows: list[Any]) -> list[Any]:
    """Eight vectors of eight words as the columns they make: blocks of 1, 2 and 4 words change places."""
    for step in (1, 2, 4):
        lower = [i if not i & step else 8 + (i ^ step) for i in range(8)]
        upper = [(i | step) if not i & step else 8 + i for i in range(8)]
        swapped = list(rows)
        for i in range(8):
            if not i & step:
                swapped[i] = shuffle(builder, rows[i], rows[i | step], lower)
                swapped[i | step] = shuffle(builder, rows[i], rows[i | step], upper)
        rows = swapped
    return rows


def _everywhere(builder: Any, word: Any) -> Any:
    vector = builder.insert_element(ir.Constant(WORDS, ir.Undefined), word, I32(0))
    return shuffle(builder, vector, vector, [0] * LANES)


def _lane_addresses(builder: Any, table: Any) -> list[Any]:
    addresses = load_vector(builder, table, WORDS)
    return [builder.extract_element(addresses, I32(lane)) for lane in range(LANES)]


def _load_message(builder: Any, addresses: list[Any], mask: Any, prefix: Any) -> list[Any]:
    """The 16 message words of eight lanes."""
    words: list[Any] = []
    for half in (0, BLOCK_BYTES // 2):
        kept = load_vector(builder, builder.add(mask, I64(half)), WORDS)
        rows = [load_vector(builder, builder.add(address, I64(half)), WORDS) for address in addresses]
        words += _transpose(builder, [builder.and_(row, kept) for row in rows])
    words[0] = builder.or_(words[0], _everywhere(builder, prefix))
    return words


def _constant(word: int) -> Any:
    return ir.Constant(WORDS, [word] * LANES)


def _shift_left(builder: Any, upper: Any, lower: Any, bits: int) -> Any:
    """The upper words of double words shifted left."""
    function_type = ir.FunctionType(WORDS, [WORDS] * 3)
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.fshl.v8i64")
    return builder.call(function, [upper, lower, _constant(bits)])


def _run_rounds(builder: Any, v: list[Any], message: list[Any]) -> None:
    """The rounds of the compression function on 16 vectors; message words that are None are zero."""

    def rotate(vector, bits):
        return _shift_left(builder, vector, vector, 64 - bits)

    def add(a, b, word):
        v[a] = builder.add(v[a], v[b])
        if word is not None:
            v[a] = builder.add(v[a], word)

    for turn in range(_ROUNDS):
        order = _ORDER_OF_WORDS[turn % len(_ORDER_OF_WORDS)]
        for i, (a, b, c, d) in enumerate(_COLUMNS_AND_DIAGONALS):
            add(a, b, message[order[2 * i]])
            v[d] = rotate(builder.xor(v[d], v[a]), 32)
            v[c] = builder.add(v[c], v[d])
            v[b] = rotate(builder.xor(v[b], v[c]), 24)
            add(a, b, message[order[2 * i + 1]])
            v[d] = rotate(builder.xor(v[d], v[a]), 16)
            v[c] = builder.add(v[c], v[d])
            v[b] = rotate(builder.xor(v[b], v[c]), 63)


def _store_digest_words(builder: Any, words: list[Any], targets: list[Any]) -> None:
    """The first four words of eight lanes as digests, each to its address."""
    lanes = _transpose(builder, words + [_constant(0)] * 4)
    for lane, target in zip(lanes, targets, strict=True):
        digest = shuffle(builder, lane, lane, [0, 1, 2, 3])
        store_vector(builder, digest, target, ir.VectorType(I64, 4))


@intrinsic
def _compress(typing_context, state, sources, offset, mask, prefix, count, final):
    """One block of eight messages.

    Args:
        state: address of the state: 8 vectors, word by word.
        sources, offset: address of eight addresses; the block of a lane stands at its address plus the offset.
        mask: address of 128 bytes, and-ed to every block.
        prefix: or-ed to word 0.
        count: bytes hashed so far, this block included.
        final: 0, or all ones in the last block.
    """

    def generate(context, builder, signature, arguments):
        state, sources, offset, mask, prefix, count, final = arguments
        addresses = [builder.add(address, offset) for address in _lane_addresses(builder, sources)]
        message = _load_message(builder, addresses, mask, prefix)
        places = [builder.add(state, I64(64 * i)) for i in range(8)]
        before = [load_vector(builder, place, WORDS) for place in places]
        v = before + [_constant(word) for word in _IV]
        v[12] = builder.xor(v[12], _everywhere(builder, count))
        v[14] = builder.xor(v[14], _everywhere(builder, final))
        _run_rounds(builder, v, message)
        for i, place in enumerate(places):
            after = builder.xor(before[i], builder.xor(v[i], v[i + 8]))
            store_vector(builder, after, place, WORDS)
        return context.get_dummy_value()

    number = types.int64
    return types.void(types.intp, types.intp, number, types.intp, number, number, number), generate


@intrinsic
def _store_digests(typing_context, state, targets):
    """The digests of eight lanes from their state to eight addresses."""

    def generate(context, builder, signature, arguments):
        state, targets = arguments
        words = [load_vector(builder, builder.add(state, I64(64 * i)), WORDS) for i in range(4)]
        _store_digest_words(builder, words, _lane_addresses(builder, targets))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@intrinsic
def _hash_pairs(typing_context, left, right, targets):
    """The hashes of eight pairs of nodes; the arguments are addresses of eight addresses."""

    def generate(context, builder, signature, arguments):
        half = ir.VectorType(I64, 4)
        left, right, targets = (_lane_addresses(builder, table) for table in arguments)
        rows = []
        for one, other in zip(left, right, strict=True):
            nodes = load_vector(builder, one, half), load_vector(builder, other, half)
            rows.append(shuffle(builder, *nodes, list(range(8))))
        words = _transpose(builder, rows)
        message: list[Any] = [_shift_left(builder, words[0], _constant(1 << 56), 8)]
        message += [_shift_left(builder, words[i], words[i - 1], 8) for i in range(1, 8)]
        message.append(builder.lshr(words[7], _constant(56)))
        before = [_IV[0] ^ _PARAMETERS, *_IV[1:]]
        v = [_constant(word) for word in (*before, *_IV)]
        v[12] = _constant(_IV[4] ^ (2 * DIGEST_BYTES + 1))
        v[14] = _constant(_IV[6] ^ (2**64 - 1))
        _run_rounds(builder, v, message + [None] * 7)
        digest = [builder.xor(_constant(before[i]), builder.xor(v[i], v[i + 8])) for i in range(4)]
        _store_digest_words(builder, digest, targets)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@njit(
    "void(intp, intp, intp, intp, intp, intp, intp, intp, intp, intp, intp, intp, uint64[::1])", nogil=True, cache=True
)
def _hash_rows(source, n_outer, outer, n_inner, inner, length, lowest, end, out, out_outer, out_inner, prefix, start):
    """Digests of `prefix || message` for `n_outer * n_inner` messages of `length` bytes; they lie in `lowest … end`."""
    total = length + 1
    n_blocks = (total + 127) // 128
    in_last = total - 128 * (n_blocks - 1)
    # state, masks of first, middle and last block, eight blocks, where the lanes read and write
    memory = np.zeros(512 + 3 * 128 + 8 * 128 + 3 * 64, np.uint8)
    state = memory.ctypes.data
    words = memory[:512].view(np.uint64)
    mask_first, mask_middle, mask_last, box = state + 512, state + 640, state + 768, state + 896
    tables = memory[1920:].view(np.intp)
    for i in range(128):
        memory[512 + i] = 255 if i > 0 and (n_blocks > 1 or i < in_last) else 0
        memory[640 + i] = 255
        memory[768 + i] = 255 if i < in_last else 0
    for lane in range(8):
        tables[16 + lane] = box + 128 * lane
    sources, targets, boxes = state + 1920, state + 1984, state + 2048
    count = n_outer * n_inner
    row = column = 0
    for i in range(0, count, 8):
        first_byte, last_byte = end, lowest
        for lane in range(8):
            at = source + row * outer + column * inner - 1  # where the prefix would stand
            tables[lane] = at
            tables[8 + lane] = out + row * out_outer + column * out_inner
            first_byte, last_byte = min(first_byte, at), max(last_byte, at)
            if i + lane + 1 < count:  # lanes too many do the last message again
                column += 1
                if column == n_inner:
                    row, column = row + 1, 0
        for word in range(8):
            for lane in range(8):
                words[8 * word + lane] = start[word]
        for block in range(n_blocks):
            offset = 128 * block
            first, final = block == 0, block == n_blocks - 1
            read = sources
            if first_byte + offset < lowest or last_byte + offset + 128 > end:
                skip = 1 if first else 0
                for lane in range(8):
                    copy_bytes(box + 128 * lane + skip, tables[lane] + offset + skip, min(128, total - offset) - skip)
                read, offset = boxes, 0
            mask = mask_first if first else (mask_last if final else mask_middle)
            so_far = total if final else 128 * (block + 1)
            _compress(state, read, offset, mask, prefix if first else 0, so_far, -1 if final else 0)
        _store_digests(state, targets)
    # `memory` must outlive the addresses into it
    memory[0] = 0


@njit("void(intp, intp, intp, intp, intp, intp, intp, intp)", nogil=True, cache=True)
def _hash_level(nodes, n_trees, tree_stride, n_nodes, node_stride, out, out_tree, out_node):
    """The level above one of `n_nodes` nodes per tree; an odd level gets its empty node."""
    memory = np.zeros(3 * 64 + 32, np.uint8)
    tables = memory[:192].view(np.intp)
    left, empty = memory.ctypes.data, memory.ctypes.data + 192
    n_pairs = (n_nodes + 1) // 2
    pair = tree = 0
    for i in range(0, n_pairs * n_trees, 8):
        for lane in range(8):
            at = nodes + 2 * pair * node_stride + tree * tree_stride
            tables[lane] = at
            tables[8 + lane] = at + node_stride if 2 * pair + 1 < n_nodes else empty
            tables[16 + lane] = out + pair * out_node + tree * out_tree
            if i + lane + 1 < n_pairs * n_trees:
                tree += 1
                if tree == n_trees:
                    pair, tree = pair + 1, 0
        _hash_pairs(left, left + 64, left + 128)
    memory[0] = 0


@njit("void(intp, intp, intp, intp, intp, intp, intp, intp, intp)", nogil=True, cache=True)
def _compute_roots(leaves, n_trees, tree_stride, n_leaves, node_stride, step, lower, upper, out):
    """Roots of trees, `step` of them at a time; `lower` and `upper` have room for half of their leaves."""
    for start in range(0, n_trees, step):
        count = min(step, n_trees - start)
        nodes, n_nodes = leaves + start * tree_stride, n_leaves
        here, there = tree_stride, node_stride
        while n_nodes > 1:
            _hash_level(nodes, count, here, n_nodes, there, lower, 32, 32 * count)
            nodes, n_nodes = lower, (n_nodes + 1) // 2
            here, there = 32, 32 * count
            lower, upper = upper, lower
        for tree in range(count):
            copy_bytes(out + 32 * (start + tree), nodes + here * tree, 32)
