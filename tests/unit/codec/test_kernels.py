"""The choice of kernels, and that every kernel gives the bytes of the plain version beside it."""

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulout import codec
from haulout.codec import gf8
from haulout.codec.errors import KernelsDisagree, UnknownKernels
from haulout.codec.kernels import choice
from haulout.codec.kernels.choice import Kernels
from haulout.crypto import batch

blake2b_lanes = pytest.importorskip("haulout.crypto.blake2b_lanes")
native_gf8 = pytest.importorskip("haulout.codec.kernels.gf8")
simd = pytest.importorskip("haulout.crypto.simd")
strips = pytest.importorskip("haulout.codec.kernels.strips")


@pytest.fixture
def plain_again() -> Iterator[None]:
    """Numpy before and after."""
    choice.use_numpy()
    yield
    choice.use_numpy()


def test_kernels_are_named() -> None:
    assert choice.parse_kernels("numpy") is Kernels.NUMPY
    assert choice.parse_kernels("native") is Kernels.NATIVE
    with pytest.raises(UnknownKernels):
        choice.parse_kernels("fast")


def test_numpy_serves_until_somebody_warms_up(plain_again: None) -> None:
    assert choice.describe().kernels is Kernels.NUMPY
    warm = choice.warm_up()
    assert warm.kernels is Kernels.NATIVE
    assert choice.describe() == warm == choice.warm_up()
    assert "numba" in str(warm)
    assert choice.use_numpy("because").detail == "because"
    assert choice.describe().kernels is Kernels.NUMPY


@pytest.mark.parametrize(
    "lie",
    [
        (blake2b_lanes, "hash_rows", lambda rows, out, prefix: out.fill(0)),
        (blake2b_lanes, "compute_roots", lambda leaves, out: out.fill(0)),
        (strips, "encode", lambda source, out, **_: out.fill(0)),
        (strips.TransformDecoder, "decode", lambda self, received, out: None),
        (strips.MatrixDecoder, "decode", lambda self, received, out: None),
    ],
)
def test_a_kernel_that_lies_is_not_used(
    plain_again: None, monkeypatch: pytest.MonkeyPatch, lie: tuple[object, str, object]
) -> None:
    monkeypatch.setattr(*lie)
    with pytest.raises(KernelsDisagree):
        choice.warm_up()
    assert choice.describe().kernels is Kernels.NUMPY


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"gfni", "avx2", "avx512f", "avx512bw", "avx512vl"}, ("gfni", 64)),
        ({"gfni", "avx2", "ssse3"}, ("gfni", 32)),
        ({"avx2", "avx512f", "avx512bw"}, ("shuffle", 64)),
        ({"avx2", "ssse3"}, ("shuffle", 32)),
        ({"ssse3"}, ("shuffle", 16)),
    ],
)
def test_no_instruction_is_chosen_that_the_cpu_lacks(features: set[str], expected: tuple[str, int]) -> None:
    assert simd.choose_instruction_set(frozenset(features), is_arm=False) == expected


def test_a_cpu_without_shuffles_gets_no_kernels() -> None:
    assert simd.choose_instruction_set(frozenset(), is_arm=True) == ("shuffle", 16)
    with pytest.raises(ImportError):
        simd.choose_instruction_set(frozenset({"sse2"}), is_arm=False)


@settings(max_examples=4 * settings.default.max_examples)
@given(
    st.integers(0, 5), st.integers(0, 20), st.integers(0, 700), st.integers(0, 255), st.integers(0, 63), st.booleans(),
    st.integers(0, 1 << 32),
)  # fmt: skip
def test_hashes_in_lanes_are_those_of_hashlib(
    n_outer: int, n_inner: int, length: int, prefix: int, misaligned: int, turned: bool, seed: int
) -> None:
    count = n_outer * n_inner
    memory = np.random.default_rng(seed).integers(0, 256, count * length + misaligned + 32 * count, dtype=np.uint8)
    shape = (n_inner, n_outer) if turned else (n_outer, n_inner)
    rows = memory[misaligned : misaligned + count * length].reshape(*shape, length)
    digests = memory[misaligned + count * length :].reshape(*shape, 32)
    expected = [[blake2b(bytes([prefix]) + row.tobytes(), digest_size=32).digest() for row in line] for line in rows]
    if turned:
        rows, digests = rows.transpose(1, 0, 2), digests.transpose(1, 0, 2)
        expected = [list(line) for line in zip(*expected, strict=True)] if n_inner else [[]] * n_outer
    blake2b_lanes.hash_rows(rows, digests, prefix)
    assert [[digest.tobytes() for digest in line] for line in digests] == expected
    plain = np.empty((n_outer, n_inner, 32), np.uint8)
    batch.hash_rows_plainly(rows, plain, prefix)
    assert (plain == digests).all()


@given(st.integers(0, 40), st.integers(1, 70), st.booleans(), st.integers(0, 1 << 32))
def test_trees_built_together_have_the_roots_of_single_ones(n_trees: int, n: int, turned: bool, seed: int) -> None:
    leaves = np.random.default_rng(seed).integers(0, 256, (n_trees, n, 32), dtype=np.uint8)
    if turned:
        leaves = np.ascontiguousarray(leaves.transpose(1, 0, 2)).transpose(1, 0, 2)
    plain, native = np.empty((2, n_trees, 32), np.uint8)
    batch.compute_roots_plainly(leaves, plain)
    blake2b_lanes.compute_roots(leaves, native)
    assert (native == plain).all()


def test_trees_that_do_not_fit_the_cache_together() -> None:
    leaves = np.random.default_rng(3).integers(0, 256, (103, 999, 32), dtype=np.uint8)
    plain, native = np.empty((2, 103, 32), np.uint8)
    batch.compute_roots_plainly(leaves, plain)
    blake2b_lanes.compute_roots(leaves, native)
    assert (native == plain).all()


@settings(max_examples=settings.default.max_examples // 2)
@given(st.integers(4, 60), st.integers(0, 30_000), st.binary(min_size=1, max_size=64))
def test_blobs_are_encoded_alike(n_shards: int, length: int, pattern: bytes) -> None:
    data = (pattern * (length // len(pattern) + 1))[:length]
    choice.use_numpy()
    plain = codec.encode_blob(data, n_shards)
    try:
        choice.warm_up()
        assert codec.encode_blob(data, n_shards) == plain
        assert codec.compute_blob_id(data, n_shards) == (plain.blob_id, plain.metadata)
    finally:
        choice.use_numpy()


@given(
    st.integers(1, 9),
    st.integers(1, 14),
    st.integers(1, 3),
    st.integers(1, 1500),
    st.integers(0, 63),
    st.integers(0, 70),
    st.integers(0, 1 << 32),
)
def test_rows_of_bytes_are_multiplied_alike(
    k: int, m: int, words: int, size: int, misaligned: int, gap: int, seed: int
) -> None:
    """The words of a row stand `gap` bytes apart."""
    rng = np.random.default_rng(seed)
    memory = rng.integers(0, 256, misaligned + k * words * (size + gap), dtype=np.uint8)[misaligned:]
    source = list(memory.reshape(k, words, size + gap)[:, :, :size])
    matrix = gf8.Matrix(rng.integers(0, 256, (m, k), dtype=np.uint8))
    plain, fast = np.zeros((m, words, size), np.uint8), np.full((m, words, size + gap), 7, np.uint8)
    gf8.multiply_plainly(matrix, source, list(plain))
    native_gf8.multiply(matrix, source, list(fast[:, :, :size]))
    assert (fast[:, :, :size] == plain).all()
    assert (fast[:, :, size:] == 7).all(), "nothing is written beside the words"
