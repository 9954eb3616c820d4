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
at the first message and at the last ones, a block is copied first.

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
    """Write the digests of `prefix || row` for rows (count, length) into `out` (count, 32); both are contiguous.

    Releases the interpreter lock. `prefix` is a byte.
    """
    count, length = rows.shape
    assert rows.flags.c_contiguous and out.flags.c_contiguous and out.shape == (count, DIGEST_BYTES)
    assert 0 <= prefix < 256
    _hash_rows(rows.ctypes.data, length, prefix, count, out.ctypes.data, _START)


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


def _load_message(builder: Any, source: Any, stride: Any, mask: Any, prefix: Any) -> list[Any]:
    """The 16 message words of eight lanes."""
    words: list[Any] = []
    for half in (0, BLOCK_BYTES // 2):
        kept = load_vector(builder, builder.add(mask, I64(half)), WORDS)
        address, rows = builder.add(source, I64(half)), []
        for _ in range(LANES):
            rows.append(builder.and_(load_vector(builder, address, WORDS), kept))
            address = builder.add(address, stride)
        words += _transpose(builder, rows)
    words[0] = builder.or_(words[0], _everywhere(builder, prefix))
    return words


@intrinsic
def _compress(typing_context, state, source, stride, mask, prefix, count, final):
    """One block of eight messages.

    Args:
        state: address of the state: 8 vectors, word by word.
        source, stride: the block of lane i stands at `source + i * stride`.
        mask: address of 128 bytes, and-ed to every block.
        prefix: or-ed to word 0.
        count: bytes hashed so far, this block included.
        final: 0, or all ones in the last block.
    """

    def generate(context, builder, signature, arguments):
        state, source, stride, mask, prefix, count, final = arguments
        funnel_type = ir.FunctionType(WORDS, [WORDS] * 3)
        funnel = cgutils.get_or_insert_function(builder.module, funnel_type, "llvm.fshr.v8i64")

        def constant(word):
            return ir.Constant(WORDS, [word] * LANES)

        def rotate(vector, bits):
            return builder.call(funnel, [vector, vector, constant(bits)])

        message = _load_message(builder, source, stride, mask, prefix)
        places = [builder.add(state, I64(64 * i)) for i in range(8)]
        before = [load_vector(builder, place, WORDS) for place in places]
        v = before + [constant(word) for word in _IV]
        v[12] = builder.xor(v[12], _everywhere(builder, count))
        v[14] = builder.xor(v[14], _everywhere(builder, final))

        def mix(a, b, c, d, x, y):
            v[a] = builder.add(builder.add(v[a], v[b]), x)
            v[d] = rotate(builder.xor(v[d], v[a]), 32)
            v[c] = builder.add(v[c], v[d])
            v[b] = rotate(builder.xor(v[b], v[c]), 24)
            v[a] = builder.add(builder.add(v[a], v[b]), y)
            v[d] = rotate(builder.xor(v[d], v[a]), 16)
            v[c] = builder.add(v[c], v[d])
            v[b] = rotate(builder.xor(v[b], v[c]), 63)

        for turn in range(_ROUNDS):
            order = _ORDER_OF_WORDS[turn % len(_ORDER_OF_WORDS)]
            for i, quarter in enumerate(_COLUMNS_AND_DIAGONALS):
                mix(*quarter, message[order[2 * i]], message[order[2 * i + 1]])
        for i, place in enumerate(places):
            after = builder.xor(before[i], builder.xor(v[i], v[i + 8]))
            store_vector(builder, after, place, WORDS)
        return context.get_dummy_value()

    number = types.int64
    return types.void(types.intp, types.intp, types.intp, types.intp, number, number, number), generate


@intrinsic
def _store_digests(typing_context, state, target):
    """The first four state words of eight lanes as eight digests, one after the other."""

    def generate(context, builder, signature, arguments):
        state, target = arguments
        words = [load_vector(builder, builder.add(state, I64(64 * i)), WORDS) for i in range(4)]
        lanes = _transpose(builder, words + [ir.Constant(WORDS, [0] * LANES)] * 4)
        for i, lane in enumerate(lanes):
            digest = shuffle(builder, lane, lane, [0, 1, 2, 3])
            store_vector(builder, digest, builder.add(target, I64(DIGEST_BYTES * i)), ir.VectorType(I64, 4))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate


@njit("void(intp, intp, intp, intp, intp, uint64[::1])", nogil=True, cache=True)
def _hash_rows(source, length, prefix, count, out, start):
    """Digests of `prefix || message` for `count` messages of `length` bytes that stand one after the other."""
    total = length + 1
    n_blocks = (total + 127) // 128
    memory = np.zeros(512 + 3 * 128 + 8 * 128, np.uint8)  # state, masks of first, middle and last block, eight blocks
    state = memory.ctypes.data
    words = memory[:512].view(np.uint64)
    mask_first, mask_middle, mask_last, box = state + 512, state + 640, state + 768, state + 896
    in_last = total - 128 * (n_blocks - 1)
    for i in range(128):
        memory[512 + i] = 255 if i > 0 and (n_blocks > 1 or i < in_last) else 0
        memory[640 + i] = 255
        memory[768 + i] = 255 if i < in_last else 0
    end = source + count * length
    for i in range(0, count, 8):
        lanes = min(8, count - i)
        base = source + i * length - 1  # where the prefix would stand
        for word in range(8):
            for lane in range(8):
                words[8 * word + lane] = start[word]
        for block in range(n_blocks):
            first = block == 0
            final = block == n_blocks - 1
            at, stride = base + 128 * block, length
            if lanes < 8 or (first and i == 0) or (final and at + 7 * stride + 128 > end):
                skip = 1 if first else 0
                used = min(128, total - 128 * block) - skip
                for lane in range(lanes):
                    copy_bytes(box + 128 * lane + skip, at + lane * stride + skip, used)
                at, stride = box, 128
            mask = mask_first if first else (mask_last if final else mask_middle)
            so_far = total if final else 128 * (block + 1)
            _compress(state, at, stride, mask, prefix if first else 0, so_far, -1 if final else 0)
        if lanes == 8:
            _store_digests(state, out + 32 * i)
        else:
            _store_digests(state, box)
            copy_bytes(out + 32 * i, box, 32 * lanes)
    # `memory` must outlive the addresses into it
    memory[0] = 0
