"""Founding a local network: keys, genesis, a funded client, and the command line of every process.

Founding happens once per folder. Its last step writes `network.json`; a crash before that leaves a folder in which
the next start founds anew, one after it leaves a network.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

from haulout.crypto.bls import Bls12381
from haulout.embedded.folder import FOLDER_FORMAT, NetworkFolder, NetworkShape, write_json
from haulout.embedded.layout import Layout
from haulout.errors import InvalidField
from haulout.ledger.genesis import DevelopmentNetwork, build_development_network
from haulout.ports import Clock, Rng
from haulout.primitives import FROST_PER_WAL, hex_id_text, max_faulty

CLIENT_FUNDS_FROST = 1_000_000 * FROST_PER_WAL
STAKE_PER_NODE_FROST = 2_000 * FROST_PER_WAL
EPOCH_DURATION_MS = 14 * 24 * 3600 * 1000
MIN_EPOCH_DURATION_MS = 10_000
# After this long the nodes do what the supervisor, which drives the epochs, has not done.
MIN_DRIVER_GRACE_MS = 5_000
MAX_DRIVER_GRACE_MS = 60_000

# Large buffers stay out of mmap, so that a message costs no page faults: up to 3.5 times the throughput of 1 MiB calls.
MALLOC_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    "MALLOC_TOP_PAD_": str(1 << 20),
    "MALLOC_ARENA_MAX": "2",
}
# Who reaches a network on this machine may store without a token, in the console too: its gateway asks for none either.
GRAPHQL_ENVIRONMENT = {"HAULOUT_ANONYMOUS": "READ,WRITE_BLOB"}


def check_shape(n_nodes: int, n_shards: int) -> None:
    """Refuse sizes that make no network.

    Raises:
        InvalidField: with the sizes that are possible.
    """
    if not 4 <= n_shards <= 1000:
        raise InvalidField(field="shards", problem=f"{n_shards} is not between 4 and 1000")
    fewest = -(-n_shards // max_faulty(n_shards))
    if not fewest <= n_nodes <= min(n_shards, 80):
        raise InvalidField(
            field="nodes",
            problem=f"{n_nodes} nodes cannot hold {n_shards} shards with at most {max_faulty(n_shards)} each; "
            f"use {fewest} to {min(n_shards, 80)}",
        )


def check_epoch_duration(duration_ms: int) -> None:
    """Refuse epochs in which no shard could move.

    Raises:
        InvalidField: shorter than 10 s.
    """
    if duration_ms < MIN_EPOCH_DURATION_MS:
        raise InvalidField(
            field="epoch_duration", problem=f"{duration_ms} ms is below {MIN_EPOCH_DURATION_MS // 1000} s"
        )


def found_network(
    folder: NetworkFolder,
    layout: Layout,
    *,
    n_shards: int,
    clock: Clock,
    rng: Rng,
    epoch_duration_ms: int | None = None,
) -> NetworkShape:
    """Make keys and genesis for `layout` and write them into the folder.

    Args:
        epoch_duration_ms: None for epochs that are advanced by hand (`haulout epoch advance`).
    """
    clients = {"client": CLIENT_FUNDS_FROST, "gateway": CLIENT_FUNDS_FROST, "graphql": CLIENT_FUNDS_FROST}
    network = build_development_network(
        node_addresses={f"node-{i}": (layout.address_of(f"node-{i}"),) for i in range(layout.n_nodes)},
        n_shards=n_shards,
        stake_frost=STAKE_PER_NODE_FROST,
        account_funds_frost=clients,
        genesis_time_ms=clock.now_ms(),
        epoch_duration_ms=epoch_duration_ms or EPOCH_DURATION_MS,
        manual_epochs=epoch_duration_ms is None,
        driver_grace_ms=max(MIN_DRIVER_GRACE_MS, min(MAX_DRIVER_GRACE_MS, (epoch_duration_ms or 0) // 10)),
        seed=rng.random_bytes(32),
        scheme=Bls12381(),
    )
    write_keys(folder, network)
    write_json(folder.genesis_file, json.loads(network.genesis.to_json()))
    shape = NetworkShape(
        format=FOLDER_FORMAT,
        chain_id=hex_id_text(network.genesis.chain_id),
        n_nodes=layout.n_nodes,
        n_shards=n_shards,
        port_base=layout.port_base,
    )
    folder.save_shape(shape)
    return shape


def write_keys(folder: NetworkFolder, network: DevelopmentNetwork) -> None:
    """Give every process its own keys, readable to the owner only."""
    for node in network.nodes:
        document = {
            "name": node.name,
            "nodeId": hex_id_text(node.node_id),
            "blsSecret": node.bls_secret.hex(),
            "capabilitySecret": node.capability_secret.hex(),
            "governanceSecret": node.governance_secret.hex(),
        }
        write_json(folder.keys_file_of(node.name), document, mode=0o600)
    for name, secret in network.account_secrets.items():
        path = folder.wallet_file if name == "client" else folder.data_of(name) / "wallet.json"
        write_json(path, {"scheme": "ed25519", "secret": secret.hex()}, mode=0o600)


def write_client_file(folder: NetworkFolder, layout: Layout) -> None:
    """Tell clients where the network listens now; written at every start, since ports may have moved."""
    document = {
        "genesis": str(folder.genesis_file),
        "wallet": str(folder.wallet_file),
        "ledger": layout.address_of("ledger"),
        "gateway": layout.urls_of("gateway")["http"],
        "graphql": layout.urls_of("graphql")["graphql"],
        "supervisor": layout.address_of("supervisor"),
    }
    write_json(folder.client_file, document)


def command_of(name: str, folder: NetworkFolder, layout: Layout) -> list[str]:
    """The command line of a process: the same as in a Pod."""
    data = folder.data_of(name)
    common = ["--dir", str(data), "--genesis", str(folder.genesis_file), "--listen", layout.address_of(name)]
    common += ["--metrics", layout.metrics_address_of(name), "--log-format", "json"]
    ledger = ["--ledger", layout.address_of("ledger")]
    haulout = [sys.executable, "-m", "haulout.cli"]
    match name:
        case "ledger":
            return [*haulout, "ledger", *common]
        case "gateway":
            return [*haulout, "gateway", *common, *ledger, "--wallet", str(data / "wallet.json")]
        case "graphql":
            gateway = layout.urls_of("gateway")["http"]
            wallet = ["--wallet", str(data / "wallet.json")]
            control = ["--control", layout.address_of("supervisor")]
            return [sys.executable, "-m", "graphql_api", *common, *ledger, *wallet, *control, "--gateway-url", gateway]
        case _:
            return [sys.executable, "-m", "node_grpc", *common, *ledger, "--keys", str(data / "keys.json")]


def environment_of(name: str) -> Mapping[str, str]:
    """What a process finds in its environment beside the supervisor's own."""
    defaults = {**MALLOC_ENVIRONMENT, **(GRAPHQL_ENVIRONMENT if name == "graphql" else {})}
    overridable = {key: os.environ.get(key, value) for key, value in defaults.items()}
    return {**overridable, "HAULOUT_PROCESS": name, "PYTHONUNBUFFERED": "1"}
