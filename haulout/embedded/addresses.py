"""Keeping the ledger's word on where nodes are: after a change of ports each node's record is brought up to date.

A node's addresses are on the ledger, and changing them is a command of the node's capability account. On one machine
ports move when others have taken them, so the supervisor compares at every start and has the change made.
"""

from __future__ import annotations

from pathlib import Path

from haulout.account.wallet import Wallet
from haulout.client.view import LedgerView, ProvenSource
from haulout.embedded.folder import FolderDamaged, NetworkFolder, read_json
from haulout.embedded.layout import Layout, role_of
from haulout.errors import Unavailable
from haulout.ledger.commands import SetNodeAddresses
from haulout.ports import Clock, Ledger, Rng
from haulout.primitives import ObjectId, parse_object_id

RETRY_MS = 100


async def announce_addresses(
    folder: NetworkFolder, layout: Layout, *, chain_id: bytes, ledger: Ledger, clock: Clock, rng: Rng
) -> int:
    """Have every node's record name the address at which it listens now; returns how many were changed.

    Waits for the ledger to answer; the caller limits how long.

    Raises:
        FolderDamaged: a node's keys cannot be read.
        Rejected: the ledger refuses a change, under its code.
    """
    view = LedgerView(ProvenSource(ledger, chain_id))
    keys = {name: _read_keys(folder.data_of(name) / "keys.json") for name in layout.names if role_of(name) == "node"}
    while True:
        try:
            nodes = await view.nodes([node_id for node_id, _ in keys.values()])
            break
        except Unavailable:  # the ledger is starting
            await clock.sleep_ms(RETRY_MS)
    changed = 0
    for name, (node_id, secret) in keys.items():
        wanted = (layout.address_of(name),)
        node = nodes.get(node_id)
        if node is None or node.addresses == wanted:
            continue
        wallet = Wallet(secret, chain_id=chain_id, ledger=ledger, clock=clock, rng=rng)
        await wallet.execute([SetNodeAddresses(node_id, wanted)])
        changed += 1
    return changed


def _read_keys(path: Path) -> tuple[ObjectId, bytes]:
    document = read_json(path) or {}
    try:
        return parse_object_id(document["nodeId"]), bytes.fromhex(document["capabilitySecret"])
    except (KeyError, ValueError) as e:
        raise FolderDamaged(path=str(path), problem=f"{type(e).__name__}: {e}") from e
