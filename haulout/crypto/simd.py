"""Values of 64 bytes for numba: kernels are written in Python and run as AVX-512, AVX2, SSSE3 or NEON code.

A `Chunk` is LLVM's `<64 x i8>`. Loads, stores, XOR and shifts are plain LLVM IR, which becomes right on every CPU. Two
operations have no plain form and are lowered by hand, split into as many machine vectors as the CPU needs::

    affine(x, m)     an 8x8 bit matrix times every byte     GFNI            vgf2p8affineqb
    lookup(t, x)     a table of 16 bytes, per byte          SSSE3, NEON     pshufb, tbl

An instruction that the target lacks is no exception but the end of the process, so what to emit is decided here from
the very list of features that numba gives to LLVM, `INSTRUCTION_SET` and `WIDTH`. That list is part of the key of
numba's cache on disk, so code for one CPU is never loaded on another. `NUMBA_CPU_FEATURES` narrows it, for tests.

Importing this module imports numba (0.3 s): only whoever has chosen native kernels does it.

Raises `ImportError` where there is no numba, or a CPU that can shuffle no bytes: the plain versions serve there.
"""

# mypy: disallow-untyped-decorators=False, disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disable-error-code="call-arg,import-untyped"

from __future__ import annotations

import operator
import platform
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils, registry
from numba.core.datamodel import models
from numba.core.extending import intrinsic, overload, register_model

CHUNK_BYTES: Final = 64
I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
BYTES = ir.VectorType(I8, CHUNK_BYTES)
WORDS = ir.VectorType(I64, 8)
_IS_ARM: Final = platform.machine() in ("aarch64", "arm64")


def target_features() -> frozenset[str]:
    """What the CPU that numba compiles for can do, in LLVM's names."""
    features: str = registry.cpu_target.target_context.codegen().magic_tuple()[2]
    return frozenset(name[1:] for name in features.split(",") if name.startswith("+"))


def choose_instruction_set(features: frozenset[str], *, is_arm: bool = _IS_ARM) -> tuple[str, int]:
    """How to multiply, `gfni` or `shuffle`, and in vectors of how many bytes.

    Raises:
        ImportError: not at all.
    """
    if features >= {"gfni", "avx512f", "avx512bw", "avx512vl"}:
        return "gfni", 64
    if features >= {"gfni", "avx2"}:
        return "gfni", 32
    if features >= {"avx512f", "avx512bw"}:
        return "shuffle", 64
    if "avx2" in features:
        return "shuffle", 32
    if "ssse3" in features or is_arm:
        return "shuffle", 16
    raise ImportError("this CPU has no instruction to shuffle bytes")


INSTRUCTION_SET, WIDTH = choose_instruction_set(target_features())


def describe_instruction_set() -> str:
    """The instructions in use, for people."""
    vectors = "NEON" if _IS_ARM else {64: "AVX-512", 32: "AVX2", 16: "SSSE3"}[WIDTH]
    return f"{vectors} with GFNI" if INSTRUCTION_SET == "gfni" else vectors


class ChunkType(types.Type):
    """64 bytes in vector registers."""

    def __init__(self) -> None:
        super().__init__(name="Chunk64")


Chunk = ChunkType()


@register_model(ChunkType)
class _ChunkModel(models.PrimitiveModel):
    def __init__(self, manager: Any, chunk: Any) -> None:
        super().__init__(manager, chunk, BYTES)


def at(builder: Any, address: Any, kind: Any = BYTES) -> Any:
    """An address as a pointer to a vector."""
    return builder.inttoptr(address, ir.PointerType(kind))


def load_vector(builder: Any, address: Any, kind: Any = BYTES) -> Any:
    """A vector from an address that need not be aligned."""
    vector = builder.load(at(builder, address, kind))
    vector.align = 1
    return vector


def store_vector(builder: Any, vector: Any, address: Any, kind: Any = BYTES) -> None:
    """A vector to an address that need not be aligned."""
    builder.store(vector, at(builder, address, kind)).align = 1


def shuffle(builder: Any, first: Any, second: Any, order: list[int]) -> Any:
    """Elements of two vectors in another order."""
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(I32, len(order)), order))


@intrinsic
def load(typing_context, address):
    """The 64 bytes at an address."""

    def generate(context, builder, signature, arguments):
        return load_vector(builder, arguments[0])

    return Chunk(types.intp), generate


@intrinsic
def store(typing_context, address, chunk):
    """Write 64 bytes to an address."""

    def generate(context, builder, signature, arguments):
        store_vector(builder, arguments[1], arguments[0])
        return context.get_dummy_value()

    return types.void(types.intp, Chunk), generate


@intrinsic
def zero(typing_context):
    """64 zero bytes."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(BYTES, [0] * CHUNK_BYTES)

    return Chunk(), generate


@intrinsic
def _xor(typing_context, first, second):
    def generate(context, builder, signature, arguments):
        return builder.xor(*arguments)

    return Chunk(Chunk, Chunk), generate


@overload(operator.xor)
def _xor_of_chunks(first, second):
    if isinstance(first, ChunkType) and isinstance(second, ChunkType):
        return lambda first, second: _xor(first, second)  # noqa: PLW0108 - numba asks for a function
    return None


@intrinsic
def copy_bytes(typing_context, target, source, count):
    """Copy bytes between addresses that do not overlap."""

    def generate(context, builder, signature, arguments):
        pointers = [builder.inttoptr(address, I8.as_pointer()) for address in arguments[:2]]
        cgutils.raw_memcpy(builder, *pointers, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


def _split(builder: Any, chunk: Any, width: int) -> list[Any]:
    """A chunk as vectors of `width` bytes."""
    if width == CHUNK_BYTES:
        return [chunk]
    starts = range(0, CHUNK_BYTES, width)
    return [shuffle(builder, chunk, chunk, list(range(start, start + width))) for start in starts]


def _join(builder: Any, parts: list[Any]) -> Any:
    """Vectors one after the other as a chunk."""
    while len(parts) > 1:
        order = list(range(2 * parts[0].type.count))
        parts = [shuffle(builder, left, right, order) for left, right in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _call_target(builder: Any, name: str, width: int, first: Any, second: Any, *rest: Any) -> Any:
    """Apply an instruction of the CPU to two chunks, vector by vector."""
    kind = ir.VectorType(I8, width)
    function_type = ir.FunctionType(kind, [kind, kind, *(I8 for _ in rest)])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    pairs = zip(_split(builder, first, width), _split(builder, second, width), strict=True)
    return _join(builder, [builder.call(function, [*pair, *rest]) for pair in pairs])


@intrinsic
def affine(typing_context, chunk, matrices):
    """Every byte times the 8x8 bit matrix in the 8 bytes of `matrices` that stand where it does."""

    def generate(context, builder, signature, arguments):
        return _call_target(builder, f"llvm.x86.vgf2p8affineqb.{WIDTH * 8}", WIDTH, *arguments, I8(0))

    return Chunk(Chunk, Chunk), generate


@intrinsic
def lookup(typing_context, table, indices):
    """`table[index]` of every byte, an index of 0 to 15, in the 16 bytes of `table` that stand where it does."""

    def generate(context, builder, signature, arguments):
        if _IS_ARM:
            name = "llvm.aarch64.neon.tbl1.v16i8"
        else:
            names = {64: "avx512.pshuf.b.512", 32: "avx2.pshuf.b", 16: "ssse3.pshuf.b.128"}
            name = f"llvm.x86.{names[WIDTH]}"
        return _call_target(builder, name, WIDTH, *arguments)

    return Chunk(Chunk, Chunk), generate


@intrinsic
def low_nibbles(typing_context, chunk):
    """The lower four bits of every byte."""

    def generate(context, builder, signature, arguments):
        return builder.and_(arguments[0], ir.Constant(BYTES, [15] * CHUNK_BYTES))

    return Chunk(Chunk), generate


@intrinsic
def high_nibbles(typing_context, chunk):
    """The upper four bits of every byte, as a number of 0 to 15."""

    def generate(context, builder, signature, arguments):
        return builder.lshr(arguments[0], ir.Constant(BYTES, [4] * CHUNK_BYTES))

    return Chunk(Chunk), generate


@intrinsic
def swap_halves(typing_context, chunk):
    """The last 32 bytes, then the first 32."""

    def generate(context, builder, signature, arguments):
        return shuffle(builder, arguments[0], arguments[0], [*range(32, 64), *range(32)])

    return Chunk(Chunk), generate


def _spread(bits: int, order: list[int]) -> Any:
    """An operation that loads a few words and repeats them over a chunk."""
    kind = ir.VectorType(ir.IntType(bits), max(order) + 1)

    @intrinsic
    def load_spread(typing_context, address):
        def generate(context, builder, signature, arguments):
            words = load_vector(builder, arguments[0], kind)
            return builder.bitcast(shuffle(builder, words, words, order), BYTES)

        return Chunk(types.intp), generate

    return load_spread


load_matrix_per_half = _spread(64, [0, 0, 0, 0, 1, 1, 1, 1])  # two 8x8 matrices, one for each half
load_table_per_half = _spread(128, [0, 0, 1, 1])  # two tables of 16 bytes, one for each half
load_matrix = _spread(64, [0] * 8)  # one 8x8 matrix everywhere
load_table = _spread(128, [0] * 4)  # one table of 16 bytes everywhere
