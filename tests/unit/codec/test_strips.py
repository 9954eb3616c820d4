"""The native code over GF(2^16) gives the bytes of the plain one: all shapes, odd sizes, any address and stride."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulout.codec.galois import LOG_ZERO, logs, multiply, multiply_logs
from haulout.codec.lanes import Symbols, to_lanes
from haulout.codec.reed_solomon import Code, code_of
from haulout.primitives import min_correct, min_decodable

strips = pytest.importorskip("haulout.codec.kernels.strips")
gf16 = pytest.importorskip("haulout.codec.kernels.gf16")

N_SHARDS = st.integers(4, 60) | st.integers(4, 1000)
SIZES = st.sampled_from([2, 6, 62, 64, 66, 70, 128, 190, 256, 574]) | st.integers(1, 400).map(lambda half: 2 * half)


@pytest.fixture(autouse=True, scope="module")
def kernels() -> Iterator[None]:
    """Both kinds are called by name here: once is enough."""
    yield


def symbols(draw: st.DataObject, count: int, n_words: int, size: int, seed: int) -> Symbols:
    """Random symbols (count, words, s): side by side per symbol index or per word, at any address."""
    misaligned = draw.draw(st.integers(0, 63), "misaligned")
    gap = draw.draw(st.sampled_from([0, 0, 2, 33]), "gap")  # bytes between the symbols
    flat = np.random.default_rng(seed).integers(0, 256, misaligned + count * n_words * (size + gap), dtype=np.uint8)
    if draw.draw(st.booleans(), "word by word"):
        return flat[misaligned:].reshape(n_words, count, size + gap)[:, :, :size].transpose(1, 0, 2)
    return flat[misaligned:].reshape(count, n_words, size + gap)[:, :, :size]


def memory_of(array: Symbols) -> Symbols:
    """All of the memory that an array is a part of."""
    while array.base is not None:
        array = array.base
    return array


@given(N_SHARDS, st.booleans(), SIZES, st.integers(0, 9), st.integers(0, 1 << 32), st.data())
def test_repair_symbols_are_those_of_the_plain_encoder(
    n: int, primary: bool, size: int, n_words: int, seed: int, data: st.DataObject
) -> None:
    code = code_of(min_decodable(n) if primary else min_correct(n), n)
    source = symbols(data, code.n_source, n_words, size, seed)
    native = symbols(data, code.n_repair, n_words, size, seed)
    native[:] = 7
    before = memory_of(native).copy()
    plain = np.empty((code.n_repair, n_words, size), np.uint8)
    code.encode_plainly(source, plain)
    strips.encode(source, native, chunk=code.chunk, is_high_rate=code.is_high_rate)
    assert (native == plain).all()
    native[:] = 7
    assert (memory_of(native) == before).all(), "something was written beside the symbols"


@given(N_SHARDS, st.booleans(), st.booleans(), SIZES, st.integers(1, 5), st.integers(0, 1 << 32), st.data())
def test_missing_symbols_come_back(
    n: int, primary: bool, by_matrix: bool, size: int, n_words: int, seed: int, data: st.DataObject
) -> None:
    code = code_of(min_decodable(n) if primary else min_correct(n), n)
    word = np.empty((n, n_words, size), np.uint8)
    word[: code.n_source] = symbols(data, code.n_source, n_words, size, seed)
    code.encode_plainly(word[: code.n_source], word[code.n_source :])
    received = np.sort(np.random.default_rng(seed).permutation(n)[: code.n_source])
    decoder = Code(code.n_source, n).decoder([int(index) for index in received])
    found = symbols(data, len(decoder.missing), n_words, size, seed)
    if decoder.missing:
        rows = symbols(data, code.n_source, n_words, size, seed)
        rows[:] = word[received]
        decoder.native(strips, by_matrix=by_matrix).decode(list(rows), list(found))
    assert (found == word[list(decoder.missing)]).all()


@given(st.integers(0, 65535), st.integers(0, 1 << 32))
def test_constants_multiply(element: int, seed: int) -> None:
    chunk = np.random.default_rng(seed).integers(0, 256, 64, dtype=np.uint8)
    product = np.empty(64, np.uint8)
    constant = gf16.constants_of(np.array([element], np.uint16))
    assert constant.nbytes == gf16.CONSTANT_BYTES
    strips.multiply_row(chunk.ctypes.data, product.ctypes.data, 64, constant.ctypes.data)
    assert [multiply(element, int(x)) for x in to_lanes(chunk)] == to_lanes(product).tolist()
    assert logs()[0] == LOG_ZERO and multiply_logs(LOG_ZERO, logs()[:1])[0] == 0


def test_the_case_that_is_done_by_hand() -> None:
    """The numbers of `haulout.codec.kernels`."""
    assert [multiply(2, 2), multiply(2, 3), multiply(3, 3)] == [3, 1, 2]
    source = np.array([1, 2], np.uint16)
    code = code_of(2, 4)
    repair = code.encode(source[:, None])
    assert repair.tolist() == [[0], [3]] and code.generator.tolist() == [[3, 2], [2, 3]]
    decoder = code.decoder([1, 2])
    assert decoder.missing == (0,)
    received = np.array([[2], [0]], np.uint16)
    assert decoder.decode_by_matrix(received).tolist() == decoder.decode_by_transform(received).tolist() == [[1]]
