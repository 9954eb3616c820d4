"""The console checks proofs by itself: its own BLAKE2b and its own walk up the tree, run here by Node."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from graphql_api.proofs import Axis
from graphql_api.scalars import BlobID
from graphql_api.sliver_proofs import SliverProof
from haulout.codec import encode_blob
from haulout.primitives import blob_id_text

SOURCES = Path(__file__).resolve().parents[3] / "console" / "src"
N_SHARDS = 10


def run_node(script: str, document: Any) -> Any:
    """What a module script writes, given a document as `input`; it finds the console's modules beside itself."""
    head = 'import { readFileSync } from "node:fs"; const input = JSON.parse(readFileSync(0, "utf8"));'
    command = ["node", "--input-type=module", "--eval", head + script]
    done = subprocess.run(command, input=json.dumps(document), capture_output=True, text=True, timeout=60, cwd=SOURCES)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_its_hash_is_blake2b_256() -> None:
    messages = [bytes(i % 251 for i in range(size)) for size in (0, 1, 41, 65, 127, 128)]
    script = """
      const { blake2b256 } = await import("./blake2b.js");
      const hash = (text) => Buffer.from(blake2b256(Buffer.from(text, "hex"))).toString("hex");
      console.log(JSON.stringify(input.map(hash)));
    """
    found = run_node(script, [message.hex() for message in messages])
    assert found == [hashlib.blake2b(message, digest_size=32).hexdigest() for message in messages]
    with pytest.raises(AssertionError, match="more than one block"):
        run_node(script, [bytes(129).hex()])


def json_of(proof: SliverProof) -> dict[str, Any]:
    """A proof as the API sends it."""

    def text(value: Any) -> Any:
        if isinstance(value, Axis):
            return value.name
        if isinstance(value, list):
            return [text(one) for one in value]
        return base64.b64encode(value).decode() if isinstance(value, bytes) else value

    resolved = ("sliver", "stripes", "wanted")
    fields = {f.name: getattr(proof, f.name) for f in dataclasses.fields(proof) if f.name not in resolved}
    words = {name: name.split("_")[0] + "".join(w.title() for w in name.split("_")[1:]) for name in fields}
    document = {words[name]: text(value) for name, value in fields.items()}
    return {**document, "unencodedSize": str(proof.unencoded_size), "blobId": blob_id_text(proof.blob_id)}


def test_it_accepts_true_proofs_and_no_others() -> None:
    encoded = encode_blob(b"a walrus on the ice " * 100, N_SHARDS)
    blob_id = BlobID(encoded.blob_id)
    true = [json_of(SliverProof.of(encoded.metadata, blob_id, pair, axis)) for pair in range(N_SHARDS) for axis in Axis]
    other = json_of(SliverProof.of(encoded.metadata, blob_id, 4, Axis.PRIMARY))
    false = []
    for name, value in other.items():
        if name in ("nShards", "nStripes", "symbolSize", "blobId"):
            continue  # stands in no hash: the page compares with the id that it asked about
        wrong = {
            "axis": "SECONDARY",
            "pair": 5,
            "encodingCode": 8,
            "unencodedSize": str(int(other["unencodedSize"]) + 1),
            "merklePath": [*value[:-1], other["primaryHash"]] if isinstance(value, list) else None,
        }.get(name, other["secondaryHash"] if name != "secondaryHash" else other["primaryHash"])
        false.append({**other, name: wrong})
    script = """
      const { checkProof } = await import("./proof.js");
      const holds = (proof) => checkProof(proof, input.blobId).every(({ passed }) => passed);
      console.log(JSON.stringify([input.true.map(holds), input.false.map(holds)]));
    """
    found = run_node(script, {"true": true, "false": false, "blobId": blob_id_text(encoded.blob_id)})
    assert found == [[True] * len(true), [False] * len(false)]
