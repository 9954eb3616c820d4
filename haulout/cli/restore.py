"""`haulout ledger restore --from-nodes`: finds the nodes, opens the lost ledger's store, and fills it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from haulout.crypto.bls import Bls12381
from haulout.embedded.folder import find_folder
from haulout.embedded.layout import Layout
from haulout.errors import HauloutError
from haulout.ports import Ledger
from haulout.replica.restore import Restored, restore_ledger
from haulout.wire.ledger import GrpcLedger
from haulout.wire.transport import GrpcNodeTransport
from haulout.world.genesis_file import read_genesis
from haulout.world.sqlite_store import SqliteStore
from haulout.world.workers import ThreadWorkers

THREADS = 2
RESTORED_FILE = "restored"


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What a person named; what is left out is taken from the network's folder."""

    nodes: tuple[str, ...]
    data: Path | None
    genesis: Path | None
    directory: Path | None
    allow_plaintext: bool = False


def was_restored(data: Path | None) -> bool:
    """Whether the ledger in a folder has been restored to its end: the next start does not do it again."""
    return data is not None and (data / RESTORED_FILE).exists()


async def restore_from_nodes(options: RestoreOptions) -> Restored:
    """Restore a ledger; raises as `restore_ledger`, `LedgerStore.open` and reading the folder do."""
    folder = find_folder(options.directory)
    addresses = options.nodes
    if not addresses:
        shape = folder.require_shape()
        layout = Layout(shape.port_base, shape.n_nodes, frozenset(shape.removed))
        addresses = tuple(layout.address_of(name) for name in layout.node_names)
    data, genesis_file = options.data or folder.data_of("ledger"), options.genesis or folder.genesis_file
    scheme = Bls12381()
    async with contextlib.AsyncExitStack() as stack:
        workers = ThreadWorkers(THREADS)
        stack.callback(workers.close)
        rows = SqliteStore(data / "ledger.sqlite")
        stack.push_async_callback(rows.close)
        sources: dict[str, Ledger] = {}
        for address, name in await _names(addresses, options.allow_plaintext):
            source = GrpcLedger(address, allow_plaintext=options.allow_plaintext)
            stack.push_async_callback(source.close)
            sources[name] = source
        genesis = read_genesis(genesis_file)
        restored = await restore_ledger(rows, sources, genesis=genesis, scheme=scheme, workers=workers)
    (data / RESTORED_FILE).touch()
    return restored


async def _names(addresses: tuple[str, ...], allow_plaintext: bool) -> list[tuple[str, str]]:
    """The nodes that answer, with what they are called on the ledger."""
    transport = GrpcNodeTransport(allow_plaintext=allow_plaintext)
    found = []
    try:
        for address in addresses:
            with contextlib.suppress(HauloutError):  # it is away: the others are counted
                found.append((address, (await transport.connect(address).health()).name))
    finally:
        await transport.close()
    return found
