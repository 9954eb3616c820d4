"""An account at work in a world."""

from __future__ import annotations

from collections.abc import Callable

from haulout.account.wallet import Wallet
from haulout.client.network import Network
from haulout.client.read import read_blob
from haulout.client.store import StoreRequest, StoreResult, store_blob
from haulout.primitives import BlobId
from haulout.sim.host import Host
from haulout.sim.ledger import SimLedger


class SimClient:
    """An account with its own replica: what the gateway holds, without HTTP.

    Attributes:
        network: as its replica sees it.
        visiting: as the ledger proves it, for commands that have no replica.
        wallet_of: the wallet of another account, by its secret.
    """

    def __init__(
        self,
        host: Host,
        ledger: SimLedger,
        network: Network,
        visiting: Network,
        wallet: Wallet,
        wallet_of: Callable[[bytes], Wallet],
    ) -> None:
        self.host = host
        self.ledger = ledger
        self.network = network
        self.visiting = visiting
        self.wallet = wallet
        self.wallet_of = wallet_of

    async def store(
        self, data: bytes, request: StoreRequest | None = None, *, is_visiting: bool = False
    ) -> StoreResult:
        """Store a blob; raises as `store_blob`."""
        network = self.visiting if is_visiting else self.network
        work = store_blob(network, self.wallet, data, request or StoreRequest(n_epochs=5))
        return await self.host.machine.run(work, name="store")

    async def read(self, blob_id: BlobId) -> bytes:
        """Read a blob; raises as `read_blob`."""

        async def work() -> bytes:
            with await read_blob(self.network, blob_id) as read:
                return bytes(read.data)

        return await self.host.machine.run(work(), name="read")
