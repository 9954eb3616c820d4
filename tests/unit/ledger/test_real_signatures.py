"""The whole life of a blob under the real scheme; everywhere else tests use the keyed hash."""

from __future__ import annotations

from dataclasses import replace

from haulout.crypto.bls import Bls12381
from haulout.ledger import invariants, queries
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.commands import Created, Existing, RegisterBlob, ReserveSpace
from haulout.ledger.genesis import build_development_network
from haulout.ledger.sandbox import Sandbox

ROOT = bytes(range(32))


def test_a_blob_is_certified_by_bls_signatures_of_a_quorum() -> None:
    scheme = Bls12381()
    network = build_development_network(
        node_addresses={f"n{i}": ("h:1",) for i in range(4)},
        n_shards=10,
        stake_frost=10**9,
        account_funds_frost={"alice": 10**9},
        genesis_time_ms=0,
        seed=bytes(32),
        scheme=scheme,
    )
    world = Sandbox(network, scheme)
    blob_id = derive_blob_id(1, 1, ROOT)
    register = RegisterBlob(Created(0, 0), blob_id, ROOT, 1, 1, False)
    blob = world.run("alice", ReserveSpace(6_940, 0, 2), register).created[1][0]
    good = world.certify_blob(Existing(blob), blob_id)
    forged = replace(good, signature=scheme.sign(network.nodes[0].bls_secret, good.message))
    assert world.run("alice", forged).reason == "SIG_VERIFICATION"
    assert world.run("alice", replace(good, signature=b"\xff" * 96)).reason == "SIG_VERIFICATION"
    assert world.run("alice", good).is_ok
    assert queries.blob_existence(world.state, blob_id) is not None
    invariants.check(world.state)
