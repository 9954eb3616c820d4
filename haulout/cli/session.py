"""What a command of a client works with: the network of a folder, and the account that pays.

Composition root of `store`, `read` and their kin. Rows come from the ledger with proofs, so a command that lives for
a second follows no chain.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from haulout.account.wallet import Wallet, read_secret
from haulout.client.network import Network
from haulout.client.view import LedgerView, ProvenSource
from haulout.crypto.bls import Bls12381
from haulout.embedded.folder import FolderDamaged, NetworkFolder, NoNetwork, find_folder, read_json
from haulout.errors import InvalidField, Unavailable, Unreachable
from haulout.ledger.refusals import PoolNotFound
from haulout.observability import tracing
from haulout.ports import Ledger
from haulout.primitives import ObjectId, hex_id_text, parse_object_id
from haulout.wire.ledger import GrpcLedger
from haulout.wire.transport import GrpcNodeTransport
from haulout.world.clock import SystemClock
from haulout.world.genesis_file import read_genesis
from haulout.world.kernels import KernelSettings, load_kernels_for
from haulout.world.rng import SystemRng
from haulout.world.workers import ThreadWorkers

MAX_THREADS = 4

T = TypeVar("T")


@dataclass(eq=False)
class NetworkNotAnswering(Unavailable):
    """The folder has a network, but its ledger does not answer."""

    code = "NETWORK_NOT_ANSWERING"
    template = "the ledger of the network in {path} does not answer at {ledger}"
    hint = "start it with `haulout up`; `haulout status` tells more"
    path: str
    ledger: str


@dataclass(frozen=True, slots=True)
class ClientDocument:
    """`client.json`: where a network is reached, and with which key."""

    genesis: str
    wallet: str
    ledger: str
    gateway: str
    graphql: str
    supervisor: str


@dataclass(frozen=True, slots=True)
class Session:
    """An open way to a network; made by `open_session`."""

    folder: NetworkFolder
    client: ClientDocument
    network: Network
    wallet: Wallet
    ledger: Ledger


def load_client_document(folder: NetworkFolder) -> ClientDocument:
    """The folder's `client.json`; keys that this version does not know are left alone.

    Raises:
        NoNetwork: there is none.
        FolderDamaged: it lacks something.
    """
    document = read_json(folder.client_file)
    if document is None:
        raise NoNetwork(path=str(folder.root))
    names = ClientDocument.__dataclass_fields__
    missing = [name for name in names if not isinstance(document.get(name), str)]
    if missing:
        raise FolderDamaged(path=str(folder.client_file), problem=f"{', '.join(missing)} missing")
    return ClientDocument(**{name: document[name] for name in names})


@contextlib.asynccontextmanager
async def open_session(directory: Path | None) -> AsyncIterator[Session]:
    """Connect to the network of a folder; everything is closed at the end.

    Args:
        directory: the network's folder, None for the default one.

    Raises:
        NoNetwork, FolderDamaged, InvalidField: the folder does not say where the network is.
        NetworkNotAnswering: from the body, when its ledger could not be reached.
    """
    folder = find_folder(directory)
    client = load_client_document(folder)
    genesis = read_genesis(Path(client.genesis))
    secret = read_secret(Path(client.wallet))
    clock, rng = SystemClock(), SystemRng()
    async with contextlib.AsyncExitStack() as stack:
        workers = ThreadWorkers(min(MAX_THREADS, os.cpu_count() or 1))
        stack.callback(workers.close)
        ledger = GrpcLedger(client.ledger)
        stack.push_async_callback(ledger.close)
        transport = GrpcNodeTransport()
        stack.push_async_callback(transport.close)
        network = Network(
            view=LedgerView(ProvenSource(ledger, genesis.chain_id)),
            transport=transport,
            scheme=Bls12381(),
            clock=clock,
            rng=rng,
            workers=workers,
            spill=Path(tempfile.gettempdir()),
        )
        wallet = Wallet(secret, chain_id=genesis.chain_id, ledger=ledger, clock=clock, rng=rng)
        try:
            yield Session(folder, client, network, wallet, ledger)
        except Unreachable as e:
            if e.peer != client.ledger:
                raise
            raise NetworkNotAnswering(path=str(folder.root), ledger=client.ledger) from e


async def find_node(session: Session, text: str) -> ObjectId:
    """The storage node with this name, or this id if it begins with `0x`.

    Raises:
        InvalidField: no node has the name, or it is no id.
        PoolNotFound: no node has the id.
    """
    if text.startswith("0x"):
        wanted = parse_object_id(text, field="node")
        if not await session.network.view.nodes([wanted]):
            raise PoolNotFound(node_id=hex_id_text(wanted))
        return wanted
    node_id = await session.network.view.node_id_of_name(text)
    if node_id is None:
        raise InvalidField(field="node", problem=f"no node is called {text[:60]!r}; `haulout info` lists them")
    return node_id


async def load_kernels(session: Session, size_bytes: int) -> None:
    """Native kernels for a blob of this size, if they are worth the seconds that it takes to get them."""
    n_shards = (await session.network.view.params()).n_shards
    await session.network.workers.run(load_kernels_for, KernelSettings.of(os.environ), size_bytes, n_shards)


def run_session(directory: Path | None, work: Callable[[Session], Awaitable[T]]) -> T:
    """Run `work` with a session in an event loop of its own; errors as `open_session` and `work`.

    Where traces are wanted, the command begins one, or goes on with that of `TRACEPARENT`.
    """
    name = f"haulout {work.__module__.rpartition('.')[2]}"
    caller = [("traceparent", os.environ.get("TRACEPARENT", ""))]

    async def run() -> T:
        async with open_session(directory) as session:
            return await work(session)

    with tracing.tracing("cli"), tracing.serve(name, caller, begins=True):
        return asyncio.run(run())
