"""Every case of `walrus_encoding.json`: ids, metadata and all slivers as Walrus's own encoder makes them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from haulout import bcs, codec
from haulout.codec import sizes
from haulout.codec.metadata import BlobMetadata, BlobMetadataWithId, Sliver
from haulout.errors import BlobTooLarge
from haulout.primitives import Axis, BlobId, blob_id_text, parse_blob_id, sliver_index_of_pair

DATA: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "walrus_encoding.json").read_text())
CASES = [*DATA["vectors"], *DATA["boundary_vectors"], *DATA["named_vectors"]]
PERIOD = bytes((i * 131 + 7) % 251 for i in range(251))


def content(vector: dict[str, Any]) -> bytes:
    if "content_utf8" in vector:
        return str(vector["content_utf8"]).encode()
    length = vector["unencoded_length"]
    return (PERIOD * (length // 251 + 1))[:length]


def digest(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def name_of(vector: dict[str, Any]) -> str:
    return f"n{vector['n_shards']}-{vector.get('unencoded_length', 'full')}"


@pytest.mark.parametrize("vector", [v for v in CASES if "error" in v], ids=name_of)
def test_blob_too_large(vector: dict[str, Any]) -> None:
    for compute in (codec.encode_blob, codec.compute_blob_id):
        with pytest.raises(BlobTooLarge) as caught:
            compute(content(vector), vector["n_shards"])
        assert caught.value.limit_bytes == sizes.max_blob_size_bytes(vector["n_shards"]) < vector["unencoded_length"]


@pytest.mark.parametrize("vector", [v for v in CASES if "error" not in v], ids=name_of)
def test_encoding(vector: dict[str, Any]) -> None:
    n_shards, length = vector["n_shards"], vector["unencoded_length"]
    assert sizes.symbol_size_bytes(length, n_shards) == vector["symbol_size"]
    assert sizes.n_source_symbols(Axis.PRIMARY, n_shards) == vector["source_symbols_primary"]
    assert sizes.n_source_symbols(Axis.SECONDARY, n_shards) == vector["source_symbols_secondary"]
    assert sizes.sliver_size_bytes(Axis.PRIMARY, length, n_shards) == vector["primary_sliver_bytes"]
    assert sizes.sliver_size_bytes(Axis.SECONDARY, length, n_shards) == vector["secondary_sliver_bytes"]
    assert sizes.encoded_length(length, n_shards) == vector["encoded_length"]

    encoded = codec.encode_blob(content(vector), n_shards)
    assert blob_id_text(encoded.blob_id) == vector["blob_id"]
    metadata = encoded.metadata
    assert metadata.root_hash().hex() == vector["root_hash"]
    raw = metadata.to_bcs()
    assert len(raw) == vector["metadata_bcs_length"]
    assert digest(raw) == vector["metadata_bcs_blake2b256"]
    assert (
        digest(bcs.encode(BlobMetadataWithId(encoded.blob_id, metadata))) == vector["metadata_with_id_bcs_blake2b256"]
    )
    assert bcs.decode(BlobMetadata, raw) == metadata
    codec.verify_metadata(metadata, BlobId(bytes.fromhex(vector["blob_id_hex"])), n_shards)

    for axis in Axis:
        name = axis.name.lower()
        in_pair_order = hashlib.blake2b(digest_size=32)
        for pair_index in range(n_shards):
            in_pair_order.update(encoded.sliver_data(axis, sliver_index_of_pair(pair_index, axis, n_shards)))
        assert in_pair_order.hexdigest() == vector[f"all_{name}_slivers_blake2b256"]
        for pair in vector["sliver_pairs"]:
            want = pair[name]
            sliver = encoded.pair(pair["pair_index"]).of(axis)
            assert sliver.index == want["sliver_index"]
            assert digest(sliver.data) == want["data_blake2b256"]
            assert digest(bcs.encode(sliver)) == digest(b"".join(sliver.bcs_chunks())) == want["bcs_blake2b256"]
            found = metadata.sliver_hash(axis, sliver.index)
            assert found is not None and found.hex() == want["merkle_root"]
            codec.verify_sliver(metadata, axis, sliver)


def hashes_little(vector: dict[str, Any]) -> bool:
    """Not n = 1000, but for one case: the id alone takes as many hashes as the whole encoding."""
    return "error" not in vector and (vector["n_shards"] < 1000 or vector["unencoded_length"] == 100)


@pytest.mark.parametrize("vector", [v for v in CASES if hashes_little(v)], ids=name_of)
def test_blob_id_alone(vector: dict[str, Any]) -> None:
    blob_id, metadata = codec.compute_blob_id(content(vector), vector["n_shards"])
    assert blob_id_text(blob_id) == vector["blob_id"]
    assert digest(metadata.to_bcs()) == vector["metadata_bcs_blake2b256"]


def vector_id_hex(vector: dict[str, Any]) -> str:
    return parse_blob_id(vector["blob_id"]).hex()


@pytest.mark.parametrize("vector", DATA["full_examples"], ids=name_of)
def test_every_byte(vector: dict[str, Any]) -> None:
    data, n_shards = bytes.fromhex(vector["content_hex"]), vector["n_shards"]
    encoded = codec.encode_blob(data, n_shards)
    assert blob_id_text(encoded.blob_id) == vector["blob_id"]
    assert encoded.metadata.to_bcs().hex() == vector["metadata_bcs_hex"]
    with_id = bcs.encode(BlobMetadataWithId(encoded.blob_id, encoded.metadata)).hex()
    assert with_id == vector.get("metadata_with_id_bcs_hex", vector_id_hex(vector) + vector["metadata_bcs_hex"])
    for pair_index in range(n_shards):
        pair = encoded.pair(pair_index)
        for axis, raw in (
            (Axis.PRIMARY, vector["primary_slivers_bcs_hex"][pair_index]),
            (Axis.SECONDARY, vector["secondary_slivers_bcs_hex"][pair_index]),
        ):
            assert bcs.encode(pair.of(axis)).hex() == raw
            assert bcs.decode(Sliver, bytes.fromhex(raw)) == pair.of(axis)
    for axis in Axis:
        slivers = [encoded.sliver(axis, i) for i in range(n_shards)]
        for used in (slivers, slivers[::-1][: sizes.n_source_symbols(axis, n_shards)]):
            assert codec.decode_blob(encoded.metadata, used, axis, check=codec.ConsistencyCheck.STRICT) == data
