"""RS8: the golden cases, and larger ones held against a second, plain implementation on top of `reedsolo`."""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import reedsolo

from haulout import bcs, codec
from haulout.codec import rs8, sizes
from haulout.codec.kernels import choice
from haulout.codec.metadata import BlobMetadataWithId
from haulout.codec.streams import BytesSource
from haulout.primitives import Axis, EncodingType, blob_id_text, sliver_index_of_pair

VECTORS = json.loads((Path(__file__).parent / "data" / "rs8.json").read_text())["vectors"]
PERIOD = bytes((i * 131 + 7) % 251 for i in range(251))
RS8 = EncodingType.RS8


def content(length: int) -> bytes:
    return (PERIOD * (length // 251 + 1))[:length]


def digest(*data: bytes | memoryview) -> str:
    return hashlib.blake2b(b"".join(data), digest_size=32).hexdigest()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"n{v['n_shards']}-{v['unencoded_length']}")
def test_golden(vector: dict[str, Any]) -> None:
    length, n_shards = vector["unencoded_length"], vector["n_shards"]
    assert sizes.n_stripes(length, n_shards, RS8) == vector["stripes"]
    assert sizes.symbol_size_bytes(length, n_shards, RS8) == vector["symbol_size"]
    assert sizes.encoded_length(length, n_shards, RS8) == vector["encoded_length"]
    encoded = codec.encode_blob(content(length), n_shards, encoding=RS8)
    assert blob_id_text(encoded.blob_id) == vector["blob_id"]
    assert encoded.metadata.root_hash().hex() == vector["root_hash"]
    with_id = bcs.encode(BlobMetadataWithId(encoded.blob_id, encoded.metadata))
    assert digest(with_id) == vector["metadata_with_id_bcs_blake2b256"]
    for axis in Axis:
        slivers = [encoded.sliver_data(axis, sliver_index_of_pair(pair, axis, n_shards)) for pair in range(n_shards)]
        assert digest(*slivers) == vector[f"all_{axis.name.lower()}_slivers_blake2b256"]
    assert codec.compute_blob_id(content(length), n_shards, encoding=RS8) == (encoded.blob_id, encoded.metadata)


def test_stripes_are_full_before_another_begins() -> None:
    stripe = 34 * 67 * 16384
    assert [sizes.n_stripes(length, 100, RS8) for length in (0, stripe, stripe + 1, 2 * stripe)] == [1, 1, 2, 2]
    assert sizes.symbol_size_bytes(stripe, 100, RS8) == 16384
    assert sizes.sliver_size_bytes(Axis.PRIMARY, stripe, 100, RS8) == 67 * 16384
    assert sizes.max_blob_size_bytes(100, RS8) > 1 << 40


# --- the second implementation: bytes, loops and hashlib; only the products of GF(2^8) come from reedsolo ------


def hash256(*data: bytes) -> bytes:
    return hashlib.blake2b(b"".join(data), digest_size=32).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    level = [hash256(b"\0", leaf) for leaf in leaves]
    while len(level) > 1:
        if len(level) % 2:
            level.append(bytes(32))
        level = [hash256(b"\1", level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


@cache
def responses(k: int, n: int) -> list[bytes]:
    """The parity that reedsolo gives to each unit message."""
    code = reedsolo.RSCodec(nsym=n - k, nsize=n, fcr=0, prim=0x11D, generator=2, c_exp=8)
    units = [bytes(int(i == j) for j in range(k)) for i in range(k)]
    return [bytes(code.encode(unit))[k:] for unit in units]


@cache
def times(factor: int) -> bytes:
    reedsolo.init_tables(prim=0x11D, generator=2, c_exp=8)
    return bytes(reedsolo.gf_mul(factor, x) for x in range(256))


def extend(symbols: list[bytes], n: int) -> list[bytes]:
    """A word of source symbols with its repair symbols behind them."""
    size, parity = len(symbols[0]), responses(len(symbols), n)
    repair = []
    for j in range(n - len(symbols)):
        total = 0
        for symbol, response in zip(symbols, parity, strict=True):
            if response[j]:
                total ^= int.from_bytes(symbol.translate(times(response[j])), "little")
        repair.append(total.to_bytes(size, "little"))
    return [*symbols, *repair]


def plain_slivers_and_root(data: bytes, n: int) -> tuple[list[bytes], list[bytes], bytes, int]:
    """Primary and secondary slivers by sliver index, root hash, symbol size."""
    f = (n - 1) // 3
    k1, k2 = n - 2 * f, n - f
    length = max(len(data), 1)
    n_stripes = -(-length // (k1 * k2 * 16384))
    size = -(-length // (n_stripes * k1 * k2))
    size += size % 2
    data = data.ljust(n_stripes * k1 * k2 * size, b"\0")
    primary, secondary = [b""] * n, [b""] * n
    roots: tuple[list[list[bytes]], list[list[bytes]]] = ([[] for _ in range(n)], [[] for _ in range(n)])
    for stripe in range(n_stripes):
        cells = [data[(stripe * k1 * k2 + i) * size :][:size] for i in range(k1 * k2)]
        right = [extend(cells[row * k2 : (row + 1) * k2], n) for row in range(k1)]
        columns = [extend([right[row][column] for row in range(k1)], n) for column in range(n)]
        for i in range(n):
            row = [columns[column][i] for column in range(n)]
            primary[i] += b"".join(row[:k2])
            secondary[i] += b"".join(columns[i][:k1])
            roots[0][i].append(tree_root(row))
            roots[1][i].append(tree_root(columns[i]))
    hashes = [[tree_root(stripe_roots) for stripe_roots in of_axis] for of_axis in roots]
    root = tree_root([hashes[0][pair] + hashes[1][n - 1 - pair] for pair in range(n)])
    return primary, secondary, root, size


def lengths_of(n: int) -> list[int]:
    f = (n - 1) // 3
    stripe = (n - 2 * f) * (n - f) * 16384
    return [0, 1, stripe - 1, stripe, stripe + 1, 2 * stripe + 12_345]


CASES = [(n, length) for n in (4, 5, 10, 13) for length in lengths_of(n)] + [(100, 40_000), (255, 1), (255, 61_234)]


@pytest.mark.parametrize("kernels", ["numpy", "native"])
def test_is_what_a_plain_implementation_makes(kernels: str) -> None:
    """One test for all cases, so that the plain one computes each of them once for both kernels."""
    if kernels == "native":
        choice.warm_up()
    try:
        for n, length in CASES:
            data = content(length)
            primary, secondary, root, size = plain(n, length)
            encoded = codec.encode_blob(data, n, encoding=RS8)
            assert encoded.metadata.symbol_size_bytes == size
            assert encoded.metadata.root_hash() == root, (n, length)
            assert encoded.blob_id == hash256(b"\x08", length.to_bytes(8, "little"), root)
            for index, axis in product(range(n), Axis):
                expected = (primary, secondary)[axis][index]
                assert encoded.sliver_data(axis, index) == expected, (n, length, axis, index)
            assert rs8.compute_metadata(BytesSource(data), length, n) == encoded.metadata
    finally:
        choice.use_numpy()


@cache
def plain(n: int, length: int) -> tuple[list[bytes], list[bytes], bytes, int]:
    return plain_slivers_and_root(content(length), n)
