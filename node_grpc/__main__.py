"""`python -m node_grpc`: the process of one storage node. Builds every object once, runs until it is told to stop.

Order of the start: `/healthz` answers, storage opens, the replica begins to follow, gRPC is served. Order of the
stop: no new work, calls in flight end, what was uploaded is made durable, stores close.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from haulout.crypto.bls import Bls12381
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import HauloutError, InvalidField
from haulout.ledger.genesis import Genesis
from haulout.node.build import build_storage_node
from haulout.node.identity import NodeIdentity, NodeSettings
from haulout.node.storage_node import StorageNode
from haulout.observability.health_server import serve_health
from haulout.observability.kernels import show_kernels, warm_up_kernels
from haulout.observability.lifecycle import stop_on_signals
from haulout.observability.logs import LEVELS, configure_logs, get_logger
from haulout.observability.metrics import build_registry, count_disk_errors, show_disk
from haulout.observability.tracing import tracing
from haulout.primitives import ObjectId, parse_object_id
from haulout.replica.bootstrap import open_replica
from haulout.replica.metrics import ReplicaCollector
from haulout.replica.pruning import KEEP_EPOCHS, Pruner
from haulout.replica.replica import Replica
from haulout.replica.serving import ReplicaLedger
from haulout.wire.ledger import GrpcLedger
from haulout.wire.service import serve_services
from haulout.wire.serving import Limits
from haulout.wire.transport import GrpcNodeTransport
from haulout.wire.v1.ledger_pb2 import DESCRIPTOR as LEDGER
from haulout.wire.v1.ledger_pb2_grpc import add_LedgerServicer_to_server
from haulout.wire.v1.storage_pb2 import DESCRIPTOR as STORAGE
from haulout.wire.v1.storage_pb2_grpc import add_StorageNodeServicer_to_server
from haulout.world.clock import SystemClock
from haulout.world.disk import FileDisk
from haulout.world.genesis_file import read_genesis
from haulout.world.kernels import KernelSettings
from haulout.world.rng import SystemRng
from haulout.world.sqlite_store import SqliteStore
from haulout.world.workers import ThreadWorkers
from node_grpc.ledger_servicer import PER_METHOD as LEDGER_PER_METHOD
from node_grpc.ledger_servicer import LedgerServicer
from node_grpc.process import (
    add_option,
    add_switch,
    cancel_all,
    follow_ledger,
    log_troubles,
    parse_count,
    read_json_file,
    reasons_of,
    run_until,
)
from node_grpc.storage_servicer import PER_METHOD, StorageServicer

SERVICES = (STORAGE.services_by_name["StorageNode"].full_name, LEDGER.services_by_name["Ledger"].full_name)

log = get_logger("node")


@dataclass(slots=True)
class Readiness:
    """Why the node should get no traffic: storage not open yet, or what the node and its replica say.

    Not reaching the ledger is no reason: a ledger that restarts must not take every node out of service.
    """

    node: StorageNode | None = None
    replica: Replica | None = None
    stopping: bool = field(default=False)

    def reasons(self) -> list[str]:
        if self.stopping:
            return ["SHUTTING_DOWN: the process was told to stop"]
        if self.node is None or self.replica is None:
            return ["STARTING: storage is being opened, or gRPC is not served yet"]
        known = reasons_of(self.replica.diverged, self.replica.upgrade_required, self.node.vault.slivers.failed)
        other = self.node.unready_reason()
        if other is not None and not any(reason.startswith(f"{other}:") for reason in known):
            known.append(other)
        return known

    def troubles(self) -> list[str]:
        """What people should hear of: why it is not ready, and a full disk, with which it serves but takes nothing."""
        is_full = self.node is not None and self.node.vault.space.is_full
        return self.reasons() + (["DISK_FULL: no uploads are taken until space is free"] if is_full else [])


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line, with the environment under it."""
    parser = argparse.ArgumentParser(prog="python -m node_grpc", description="A storage node.")
    add_option(parser, "--dir", "folder for everything the node keeps")
    add_option(parser, "--genesis", "genesis file of the network")
    add_option(parser, "--ledger", "address of the ledger, host:port")
    add_option(parser, "--listen", "address to serve gRPC on, host:port")
    add_option(parser, "--metrics", "address to serve /metrics, /healthz and /readyz on, host:port")
    add_option(parser, "--keys", "file with the node's name and secret keys; readable to its owner only")
    add_option(
        parser,
        "--node-id",
        "id under which the ledger knows the node; not needed when genesis or --keys has it",
        default="",
    )
    add_option(
        parser,
        "--scrub-rate",
        "bytes per second that are read again to find damage; 0 for none",
        default=str(NodeSettings().scrub_bytes_per_s),
    )
    add_option(
        parser,
        "--keep-epochs",
        "epochs of which the ledger's blocks are kept, the present one among them; 0 for all",
        default=str(KEEP_EPOCHS),
    )
    add_option(parser, "--log-format", "for people or for machines", default="auto", choices=("auto", "human", "json"))
    add_option(parser, "--log-level", "least important level that is logged", default="info", choices=LEVELS)
    add_switch(parser, "--allow-plaintext", "speak gRPC without TLS beyond this machine, where the network is trusted")
    return parser.parse_args(arguments)


def read_identity(path: Path, genesis: Genesis, scheme: SignatureScheme, *, node_id: str = "") -> NodeIdentity:
    """Who this node is.

    Args:
        node_id: as the ledger knows it, for a node that registered after genesis and whose file does not tell.

    Raises:
        InvalidField: the file cannot be used, others may read it, or its node is not the one it says.
    """
    document = read_json_file("keys", path)
    status = path.stat()
    # A file of somebody else, as a Secret in a Pod is, can only be ours to read by its group.
    if status.st_mode & (0o077 if status.st_uid == os.getuid() else 0o007):
        raise InvalidField(field="keys", problem=f"{path} can be read by others; chmod 600 it")
    name = document.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidField(field="keys.name", problem="missing")
    try:
        secret = bytes.fromhex(str(document["blsSecret"]).removeprefix("0x"))
    except (KeyError, ValueError) as e:
        raise InvalidField(field="keys.blsSecret", problem="missing, or not hex digits") from e
    if len(secret) != 32:
        raise InvalidField(field="keys.blsSecret", problem=f"{len(secret)} bytes, must be 32")
    public_key = scheme.public_key(secret)
    told = document.get("nodeId") or node_id or None
    return NodeIdentity(
        name=name,
        node_id=_find_node_id(told, name, public_key, genesis),
        bls_secret=secret,
        public_key=public_key,
        capability_secret=_read_capability(document.get("capabilitySecret")),
    )


def _read_capability(told: object) -> bytes | None:
    """The Ed25519 secret of the account that reports for the node; without one it serves and reports nothing."""
    if told is None:
        return None
    try:
        secret = bytes.fromhex(str(told).removeprefix("0x"))
    except ValueError as e:
        raise InvalidField(field="keys.capabilitySecret", problem="not hex digits") from e
    if len(secret) != 32:
        raise InvalidField(field="keys.capabilitySecret", problem=f"{len(secret)} bytes, must be 32")
    return secret


def _find_node_id(told: object, name: str, public_key: bytes, genesis: Genesis) -> ObjectId:
    """The id the file names, else that of the genesis node with this name; its key must be ours."""
    for index, node in enumerate(genesis.nodes):
        if node.name == name and told in (None, "0x" + genesis.node_id(index).hex()):
            if node.public_key != public_key:
                raise InvalidField(field="keys.blsSecret", problem=f"not the key that {name} has in the genesis file")
            return genesis.node_id(index)
    if isinstance(told, str):
        return parse_object_id(told, field="keys.nodeId")  # registered later than genesis
    raise InvalidField(field="keys.nodeId", problem=f"missing, and {name} is not in the genesis file")


async def serve(options: argparse.Namespace) -> None:
    """Run the process until SIGTERM or SIGINT.

    Raises:
        HauloutError: it cannot start, or its storage failed.
    """
    folder = Path(options.dir)
    scheme = Bls12381()
    genesis = read_genesis(Path(options.genesis))
    identity = read_identity(Path(options.keys), genesis, scheme, node_id=options.node_id)
    clock, rng = SystemClock(), SystemRng()
    kernels = KernelSettings.of(os.environ)
    registry = build_registry("node")
    show_kernels(registry)
    show_disk(registry, folder)
    on_error = count_disk_errors(registry)
    readiness = Readiness()
    async with contextlib.AsyncExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        await stack.enter_async_context(serve_health(options.metrics, registry, ready=readiness.reasons))
        workers = ThreadWorkers(max(2, os.cpu_count() or 1))
        stack.callback(workers.close)
        ledger = GrpcLedger(options.ledger, allow_plaintext=options.allow_plaintext)
        stack.push_async_callback(ledger.close)
        transport = GrpcNodeTransport(allow_plaintext=options.allow_plaintext)
        stack.push_async_callback(transport.close)
        store = SqliteStore(folder / "node.sqlite", on_error=on_error)
        stack.push_async_callback(store.close)
        disk = FileDisk(folder / "data", on_error=on_error)
        stack.callback(disk.close)
        rows = SqliteStore(folder / "replica.sqlite", on_error=on_error)
        replica = await open_replica(rows, ledger, genesis=genesis, scheme=scheme, clock=clock, workers=workers)
        stack.push_async_callback(replica.close)
        ReplicaCollector(replica, registry)
        node = await build_storage_node(
            identity=identity,
            replica=replica,
            ledger=ledger,
            store=store,
            disk=disk,
            transport=transport,
            scheme=scheme,
            clock=clock,
            rng=rng,
            workers=workers,
            registry=registry,
            settings=NodeSettings(scrub_bytes_per_s=parse_count("scrub-rate", options.scrub_rate)),
        )
        pruner = Pruner(
            replica.store,
            clock,
            keep_epochs=parse_count("keep-epochs", options.keep_epochs),
            needed_from=lambda: node.vault.tables.cursor().height + 1,
        )
        running = (
            follow_ledger(replica, clock),
            node.run(),
            pruner.run(),
            warm_up_kernels(kernels, workers, clock, readiness.reasons),
            log_troubles(readiness.troubles, clock),
        )
        tasks = [asyncio.create_task(one) for one in running]
        stack.push_async_callback(cancel_all, tasks)
        servicer = StorageServicer(node, n_shards=genesis.n_shards)
        async with serve_services(
            functools.partial(_add_servicers, servicer, LedgerServicer(ReplicaLedger(replica))),
            SERVICES,
            options.listen,
            ready=readiness.reasons,
            limits=Limits(per_method={**PER_METHOD, **LEDGER_PER_METHOD}),
            clock=clock,
            rng=rng,
            registry=registry,
            allow_plaintext=options.allow_plaintext,
        ) as address:
            readiness.node, readiness.replica = node, replica
            log.info("serving", address=address, name=identity.name, height=replica.head.height)
            try:
                await run_until(stop, tasks)
            finally:
                readiness.stopping = True
                log.info("stopping")
        await node.stop()


def _add_servicers(storage: StorageServicer, ledger: LedgerServicer, server: grpc.aio.Server) -> None:
    """What a node has of the ledger is served beside its slivers: a lost ledger is restored from there."""
    add_StorageNodeServicer_to_server(storage, server)
    add_LedgerServicer_to_server(ledger, server)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 after a signal, 1 when something that it needs is wrong; the log says what to do."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    process = os.environ.get("HAULOUT_PROCESS", "node")
    configure_logs(log_format=options.log_format, level=options.log_level, process=process)
    try:
        with tracing("node"):
            asyncio.run(serve(options))
    except HauloutError as e:
        log.error("cannot go on", code=e.code, problem=str(e))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
