"""Values of `walrus_primitives.json`: sizes, the field, code words, Merkle trees, metadata, recovery symbols, texts."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from haulout import bcs, codec
from haulout.codec import galois, sizes
from haulout.codec.metadata import BlobMetadata, RecoverySymbol, SliverPairHashes, SymbolId
from haulout.codec.red_stuff import Geometry, build_metadata
from haulout.codec.reed_solomon import Code
from haulout.crypto import bls, merkle
from haulout.primitives import (
    Axis,
    BlobId,
    EncodingType,
    blob_id_text,
    max_faulty,
    min_correct,
    pair_of_shard,
    parse_blob_id,
    shard_of_pair,
)

DATA: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "walrus_primitives.json").read_text())
FACTS, DERIVED = DATA["repo_facts"], DATA["derived"]
EXAMPLES = json.loads((Path(__file__).parent / "data" / "walrus_encoding.json").read_text())["full_examples"]


def digest(array: Any) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array, "<u2").tobytes(), digest_size=32).hexdigest()


@pytest.mark.parametrize(("n", "f", "n_minus_f"), FACTS["bft"]["rows"])
def test_quorums(n: int, f: int, n_minus_f: int) -> None:
    assert (max_faulty(n), min_correct(n)) == (f, n_minus_f)


@pytest.mark.parametrize(("n", "primary", "secondary"), FACTS["source_symbols"]["rows"])
def test_source_symbols(n: int, primary: int, secondary: int) -> None:
    assert sizes.n_source_symbols(Axis.PRIMARY, n) == sizes.n_sliver_symbols(Axis.SECONDARY, n) == primary
    assert sizes.n_source_symbols(Axis.SECONDARY, n) == sizes.n_sliver_symbols(Axis.PRIMARY, n) == secondary


@pytest.mark.parametrize(
    ("length", "n_symbols", "alignment", "size"), [row for row in FACTS["symbol_size"]["rows"] if row[2] == 2]
)
def test_symbol_size(monkeypatch: pytest.MonkeyPatch, length: int, n_symbols: int, alignment: int, size: int) -> None:
    monkeypatch.setattr(sizes, "n_matrix_symbols", lambda n_shards: n_symbols)
    assert alignment == sizes.SYMBOL_ALIGNMENT
    assert sizes.symbol_size_bytes(length, 4) == size


@pytest.mark.parametrize(("length", "n", "encoded"), FACTS["encoded_length"]["rows"])
def test_encoded_length(length: int, n: int, encoded: int) -> None:
    assert sizes.encoded_length(length, n) == encoded


def test_sizes_of_a_large_quilt_and_of_the_largest_blob() -> None:
    quilt = FACTS["quilt_patch_id"]
    assert sizes.encoded_length(quilt["unencoded_length"], 1000) == quilt["encoded_length_1000_shards"]
    assert sizes.max_blob_size_bytes(FACTS["max_blob_size"]["n_shards"]) == FACTS["max_blob_size"]["bytes"]


@pytest.mark.parametrize(("n_leaves", "n_nodes", "path_length"), FACTS["merkle_nodes"]["rows"])
def test_merkle_nodes(n_leaves: int, n_nodes: int, path_length: int) -> None:
    levels = merkle.build_levels([merkle.hash_leaf(b"%d" % i) for i in range(n_leaves)])
    assert sum(map(len, levels)) == n_nodes
    assert merkle.proof_length(n_leaves) == path_length


def test_merkle_roots_and_proofs() -> None:
    vector = DERIVED["merkle"]
    leaves = [text.encode() for text in vector["leaves_utf8"]]
    hashes = [merkle.hash_leaf(leaf) for leaf in leaves]
    for count, root in enumerate(vector["root_of_first_n"]):
        assert merkle.compute_root(hashes[:count]).hex() == root
    for index, key in ((4, "proof_index_4_of_9"), (8, "proof_index_8_of_9")):
        proof = merkle.build_proof(hashes, index)
        assert [(sibling or merkle.EMPTY).hex() for sibling in proof.siblings] == vector[key]
        assert merkle.verify_proof(merkle.compute_root(hashes), 9, leaves[index], index, proof)


@pytest.mark.parametrize(("n", "blob_id", "before", "after"), FACTS["rotation"]["pair_to_shard"])
def test_pair_to_shard(n: int, blob_id: int, before: int, after: int) -> None:
    assert shard_of_pair(before, BlobId(blob_id.to_bytes(32, "big")), n) == after


@pytest.mark.parametrize(("n", "blob_id", "before", "after"), FACTS["rotation"]["shard_to_pair"])
def test_shard_to_pair(n: int, blob_id: int, before: int, after: int) -> None:
    assert pair_of_shard(before, BlobId(blob_id.to_bytes(32, "big")), n) == after


@pytest.mark.parametrize(("n_rows", "n_columns", "blob", "rows", "columns"), FACTS["matrix"]["rows"])
def test_matrix_is_row_major(
    monkeypatch: pytest.MonkeyPatch, n_rows: int, n_columns: int, blob: list[int], rows: Any, columns: Any
) -> None:
    counts = {Axis.PRIMARY: n_rows, Axis.SECONDARY: n_columns}
    monkeypatch.setattr(sizes, "n_source_symbols", lambda axis, n_shards: counts[axis])
    shape = Geometry(4, 2)
    matrix = shape.matrix(bytes(blob).ljust(shape.matrix_bytes, b"\x00"))
    assert matrix.reshape(n_rows, -1).tolist() == rows
    assert matrix.transpose(1, 0, 2).reshape(n_columns, -1).tolist() == columns


def test_blob_id_as_text_and_as_decimal() -> None:
    for decimal, text in FACTS["blob_id_text"]["rows"]:
        blob_id = int(decimal).to_bytes(32, "little")
        assert blob_id_text(blob_id) == text
        assert parse_blob_id(text) == blob_id


def test_symbol_id() -> None:
    fact = FACTS["symbol_id_text"]
    symbol_id = SymbolId(fact["primary"], fact["secondary"])
    assert str(symbol_id) == fact["text"]
    assert bcs.encode(symbol_id).hex() == fact["bcs_hex"]


def test_key_file() -> None:
    fact = FACTS["key_file"]
    secret = bls.parse_key_file(fact["base64"])
    assert secret.hex() == fact["secret_key_hex"]
    assert bls.key_file_text(secret) == fact["base64"]


def test_field_tables() -> None:
    vector = DERIVED["field"]
    logs, powers = galois.logs(), galois.powers()
    assert logs[1:9].tolist() == vector["log_1_to_8"]
    assert powers[:9].tolist() == vector["exp_0_to_8"]
    assert (powers[65534], powers[65535]) == (vector["exp_65534"], vector["exp_65535"])
    theirs = logs.copy()
    theirs[0] = 65535  # our marker of zero is another one
    assert digest(theirs) == vector["blake2b256_of_65536_u16le_log_table_with_log0_65535"]
    assert digest(powers[:65536]) == vector["blake2b256_of_65536_u16le_exp_table"]
    for a, b, product in vector["products"]:
        assert galois.multiply(int(a, 16), int(b, 16)) == int(product, 16)
        assert galois.divide(int(product, 16), int(b, 16)) == int(a, 16)


def test_skew_elements() -> None:
    skews = []
    for y in range(1, 65536):
        shift = (y & -y).bit_length() - 1
        skews.append((y - (1 << shift)) >> shift)
    theirs = galois.logs()[np.array(skews)]
    theirs[np.array(skews) == 0] = 65535
    assert digest(theirs) == DERIVED["field"]["blake2b256_of_65535_u16le_skew_log_table"]


@pytest.mark.parametrize("vector", DERIVED["rs_elements"], ids=lambda v: f"k{v['k']}r{v['r']}-{v['original'][0]}")
def test_code_words_of_one_lane(vector: dict[str, Any]) -> None:
    code = Code(vector["k"], vector["k"] + vector["r"])
    assert code.is_high_rate == (vector["rate"] == "high")
    source = np.array([[int(element, 16)] for element in vector["original"]], np.uint16)
    assert code.encode(source)[:, 0].tolist() == [int(element, 16) for element in vector["recovery"]]


@pytest.mark.parametrize("vector", DERIVED["rs_bytes"], ids=lambda v: f"{v['symbol_bytes']}-bytes")
def test_code_words_of_bytes(vector: dict[str, Any]) -> None:
    code, size = Code(vector["k"], vector["k"] + vector["r"]), vector["symbol_bytes"]
    source = (np.arange(code.n_source * size) % 256).astype(np.uint8).reshape(code.n_source, 1, size)
    repair = np.empty((code.n_repair, 1, size), np.uint8)
    code.encode_symbols(source, repair)
    if vector["recovery_hex"] is not None:
        assert [symbol.tobytes().hex() for symbol in repair] == vector["recovery_hex"]
    assert hashlib.blake2b(repair.tobytes(), digest_size=32).hexdigest() == vector["blake2b256_concat"]


@pytest.mark.parametrize("vector", DERIVED["generator_matrices"], ids=lambda v: f"k{v['k']}r{v['r']}")
def test_generator_matrix(vector: dict[str, Any]) -> None:
    generator = Code(vector["k"], vector["k"] + vector["r"]).generator
    assert (generator[0, 0], generator[-1, -1]) == (int(vector["first"], 16), int(vector["last"], 16))
    assert digest(generator) == vector["blake2b256_of_row_major_u16le"]


def test_metadata() -> None:
    vector = DERIVED["metadata"]
    hashes = [bytes([i]) * 32 for i in range(10)]
    metadata = build_metadata(EncodingType.RS2, 62831, hashes, hashes[::-1])
    assert metadata.pairs[3] == SliverPairHashes(hashes[3], hashes[3])
    assert metadata.root_hash().hex() == vector["root_hash"]
    assert blob_id_text(metadata.blob_id()) == vector["blob_id"]
    raw = metadata.to_bcs()
    assert len(raw) == vector["bcs_length"]
    assert hashlib.blake2b(raw, digest_size=32).hexdigest() == vector["bcs_blake2b256"]
    assert bcs.decode(BlobMetadata, raw) == metadata


@pytest.mark.parametrize(
    ("key", "source_axis", "source", "target"),
    [
        ("from_secondary_2_to_primary_5", Axis.SECONDARY, 2, 5),
        ("from_primary_5_to_secondary_2", Axis.PRIMARY, 5, 2),
        ("from_secondary_2_to_primary_6", Axis.SECONDARY, 2, 6),
    ],
)
def test_recovery_symbols(key: str, source_axis: Axis, source: int, target: int) -> None:
    encoded = codec.encode_blob(bytes.fromhex(EXAMPLES[1]["content_hex"]), 7)
    sliver = encoded.sliver(source_axis, source)
    symbol = codec.recovery_symbol(encoded.metadata, source_axis, sliver, target)
    raw = DERIVED["recovery_symbols_n7_len100"][key]
    assert bcs.encode(symbol).hex() == raw
    assert bcs.decode(RecoverySymbol, bytes.fromhex(raw)) == symbol
    codec.verify_recovery_symbol(encoded.metadata, symbol, target, source_axis.other)
