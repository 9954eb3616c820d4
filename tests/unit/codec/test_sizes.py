"""Lengths and limits: the table of the specification, and what is no length."""

import pytest

from haulout.codec import sizes
from haulout.codec.errors import ShardCountOutOfRange
from haulout.errors import BlobTooLarge, InvalidField
from haulout.primitives import Axis, EncodingType

# n, k1, k2, largest blob, largest primary and secondary sliver, encoded length of the smallest blobs
TABLE = [
    (4, 2, 3, 393_204, 196_602, 131_068, 1_192),
    (7, 3, 5, 983_010, 327_670, 196_602, 3_472),
    (10, 4, 7, 1_834_952, 458_738, 262_136, 6_940),
    (13, 5, 9, 2_949_030, 589_806, 327_670, 11_596),
    (31, 11, 21, 15_138_354, 1_376_214, 720_874, 64_480),
    (100, 34, 67, 149_286_452, 4_390_778, 2_228_156, 663_400),
    (300, 102, 201, 1_343_578_068, 13_172_334, 6_684_468, 5_951_400),
    (1000, 334, 667, 14_599_533_452, 43_711_178, 21_888_356, 66_034_000),
]


@pytest.mark.parametrize(("n", "k1", "k2", "blob", "primary", "secondary", "encoded"), TABLE)
def test_table(n: int, k1: int, k2: int, blob: int, primary: int, secondary: int, encoded: int) -> None:
    assert sizes.n_matrix_symbols(n) == k1 * k2
    assert sizes.max_blob_size_bytes(n) == blob
    assert sizes.max_sliver_size_bytes(Axis.PRIMARY, n) == sizes.sliver_size_bytes(Axis.PRIMARY, blob, n) == primary
    assert sizes.max_sliver_size_bytes(Axis.SECONDARY, n) == secondary
    assert {sizes.encoded_length(length, n) for length in (0, 1, 2 * k1 * k2)} == {encoded}
    assert sizes.encoded_length(2 * k1 * k2 + 1, n) > encoded
    assert sizes.symbol_size_bytes(blob, n) == 65534
    with pytest.raises(BlobTooLarge) as caught:
        sizes.symbol_size_bytes(blob + 1, n)
    assert (caught.value.size_bytes, caught.value.limit_bytes, caught.value.n_shards) == (blob + 1, blob, n)


@pytest.mark.parametrize(("length", "n"), [(-1, 10), (1 << 64, 10), (0, 0), (0, -4)])
def test_refuses_what_is_no_length_or_network(length: int, n: int) -> None:
    for encoding in EncodingType:
        with pytest.raises(InvalidField):
            sizes.encoded_length(length, n, encoding)


@pytest.mark.parametrize("n", [0, 1, 3, 1001])
def test_refuses_shard_counts_without_a_code(n: int) -> None:
    with pytest.raises(ShardCountOutOfRange) as caught:
        sizes.check_shard_count(n)
    assert (caught.value.n_shards, caught.value.minimum, caught.value.maximum) == (n, 4, 1000)


def test_rs8_has_at_most_255_shards() -> None:
    sizes.check_shard_count(255, EncodingType.RS8)
    with pytest.raises(ShardCountOutOfRange):
        sizes.check_shard_count(256, EncodingType.RS8)
