"""Sizes of RS8, which the ledger prices although this build cannot encode it, and its refusal everywhere else."""

import json
from pathlib import Path
from typing import Any

import pytest

from haulout import codec
from haulout.codec import sizes
from haulout.codec.errors import UnsupportedEncodingType
from haulout.primitives import Axis, EncodingType

VECTORS = json.loads((Path(__file__).parent / "data" / "rs8.json").read_text())["vectors"]
RS8 = EncodingType.RS8


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"n{v['n_shards']}-{v['unencoded_length']}")
def test_sizes(vector: dict[str, Any]) -> None:
    length, n_shards = vector["unencoded_length"], vector["n_shards"]
    assert sizes.n_stripes(length, n_shards, RS8) == vector["stripes"]
    assert sizes.symbol_size_bytes(length, n_shards, RS8) == vector["symbol_size"]
    assert sizes.encoded_length(length, n_shards, RS8) == vector["encoded_length"]


def test_stripes_are_full_before_another_begins() -> None:
    stripe = 34 * 67 * 16384
    assert [sizes.n_stripes(length, 100, RS8) for length in (0, stripe, stripe + 1, 2 * stripe)] == [1, 1, 2, 2]
    assert sizes.symbol_size_bytes(stripe, 100, RS8) == 16384
    assert sizes.sliver_size_bytes(Axis.PRIMARY, stripe, 100, RS8) == 67 * 16384
    assert sizes.max_blob_size_bytes(100, RS8) > 1 << 40


def test_encoding_is_refused() -> None:
    for compute in (codec.encode_blob, codec.compute_blob_id):
        with pytest.raises(UnsupportedEncodingType) as caught:
            compute(b"data", 10, encoding=RS8)
        assert caught.value.code == "UNSUPPORTED_ENCODING_TYPE"
        assert caught.value.encoding_type == 8
