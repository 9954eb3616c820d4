"""The one-dimensional code: transforms against the closed-form matrix, decoders against the words themselves."""

import random
from itertools import combinations

import numpy as np
import pytest

from haulout.codec import galois, transform
from haulout.codec.lanes import to_lanes, to_symbols
from haulout.codec.reed_solomon import Code, code_of
from haulout.primitives import min_correct, min_decodable

SHAPES = [(2, 4), (3, 4), (2, 5), (4, 5), (2, 6), (4, 6), (3, 7), (5, 7), (3, 9), (5, 13), (9, 13), (11, 31), (21, 31)]
WIDE = transform.WIDE_LANES


def rows(count: int, lanes: int, seed: int = 7) -> galois.Lanes:
    return np.random.default_rng(seed).integers(0, 1 << 16, (count, lanes), dtype=np.uint16)


def by_matrix(code: Code, source: galois.Lanes) -> galois.Lanes:
    """Plain sums of products, element by element."""
    repair = np.zeros((code.n_repair, source.shape[1]), np.uint16)
    for j in range(code.n_repair):
        for i in range(code.n_source):
            for lane in range(source.shape[1]):
                repair[j, lane] ^= galois.multiply(int(code.generator[j, i]), int(source[i, lane]))
    return repair


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_transform_equals_matrix(shape: tuple[int, int]) -> None:
    code = Code(*shape)
    source = rows(code.n_source, 3)
    assert (code.encode(source) == by_matrix(code, source)).all()


@pytest.mark.parametrize("shape", [(34, 100), (67, 100), (3, 13), (9, 13)], ids=str)
def test_wide_and_narrow_rows_are_coded_alike(shape: tuple[int, int]) -> None:
    code = Code(*shape)
    source = rows(code.n_source, WIDE + 100)
    wide = code.encode(source)
    narrow = np.concatenate([code.encode(source[:, :64]), code.encode(source[:, 64:200])], axis=1)
    assert (wide[:, :200] == narrow).all()


@pytest.mark.parametrize("shape", [(2, 4), (3, 4), (3, 7), (5, 7), (4, 5), (2, 6)], ids=str)
def test_every_choice_of_symbols_decodes(shape: tuple[int, int]) -> None:
    code = Code(*shape)
    source = rows(code.n_source, 2)
    word = np.concatenate([source, code.encode(source)])
    for received in combinations(range(code.n_symbols), code.n_source):
        decoder = code.decoder(received)
        want = source[list(decoder.missing)]
        if decoder.missing:
            assert (decoder.decode_by_matrix(word[list(received)]) == want).all()
            assert (decoder.decode_by_transform(word[list(received)]) == want).all()
        assert (decoder.decode(word[list(received)]) == want).all()


@pytest.mark.parametrize("n_shards", [10, 13, 31, 100, 300, 1000])
@pytest.mark.parametrize("axis", [min_decodable, min_correct], ids=["primary", "secondary"])
def test_random_symbols_decode_both_ways(n_shards: int, axis: object) -> None:
    code = code_of(axis(n_shards), n_shards)  # type: ignore[operator]
    source = rows(code.n_source, 2)
    word = np.concatenate([source, code.encode(source)])
    chance = random.Random(n_shards)
    choices = [sorted(chance.sample(range(n_shards), code.n_source)), list(range(n_shards))[-code.n_source :]]
    for received in choices:
        decoder = code.decoder(received)
        want = source[list(decoder.missing)]
        assert (decoder.decode_by_transform(word[received]) == want).all()
        assert (decoder.decode_by_matrix(word[received]) == want).all()


def test_the_cheaper_decoder_is_chosen() -> None:
    code = code_of(334, 1000)
    assert code.decoder([*range(333), 500]).uses_matrix(2)
    assert not code.decoder(range(334, 668)).uses_matrix(2)
    assert code.decoder(range(334)).missing == ()


@pytest.mark.parametrize("size", [2, 4, 6, 30, 62, 64, 66, 70, 126, 128, 130, 462])
def test_symbols_of_every_size_come_back_from_lanes(size: int) -> None:
    symbols = np.random.default_rng(size).integers(0, 256, (3, 5, size), dtype=np.uint8)
    lanes = to_lanes(symbols)
    assert lanes.shape == (3, 5, size // 2)
    out = np.zeros_like(symbols)
    to_symbols(lanes, out)
    assert (out == symbols).all()
    assert (to_lanes(symbols[:, 1:3]) == lanes[:, 1:3]).all()


@pytest.mark.parametrize(
    ("size", "lane", "low", "high"),
    [(2, 0, 0, 1), (66, 31, 31, 63), (66, 32, 64, 65), (70, 32, 64, 67), (70, 34, 66, 69)],
)
def test_bytes_of_a_lane(size: int, lane: int, low: int, high: int) -> None:
    symbol = np.arange(size, dtype=np.uint8)
    assert int(to_lanes(symbol[None])[0, lane]) == low | high << 8


def test_field_axioms_on_samples() -> None:
    chance = random.Random(1)
    for _ in range(200):
        a, b, c = (chance.randrange(1 << 16) for _ in range(3))
        assert galois.multiply(a, b) == galois.multiply(b, a)
        assert galois.multiply(a, b ^ c) == galois.multiply(a, b) ^ galois.multiply(a, c)
        assert galois.multiply(a, galois.multiply(b, c)) == galois.multiply(galois.multiply(a, b), c)
        assert galois.multiply(a, 1) == a and galois.multiply(a, 0) == 0
        if b:
            assert galois.multiply(galois.divide(a, b), b) == a


def test_product_table_holds_all_products() -> None:
    table = galois.product_table(0x1234)
    for element in (0, 1, 2, 255, 256, 0x5678, 0xFFFF):
        assert int(table[element]) == galois.multiply(0x1234, element)
