"""The supervisor's own way to the ledger: what it reads, what it signs with, and the epochs it drives."""

from __future__ import annotations

from pathlib import Path

from haulout.account.wallet import Wallet, read_secret
from haulout.client.view import LedgerView, ProvenSource
from haulout.driver.epoch_driver import EpochDriver
from haulout.embedded.folder import NetworkFolder
from haulout.embedded.layout import Layout
from haulout.ports import Clock, Rng
from haulout.primitives import parse_object_id
from haulout.wire.ledger import GrpcLedger


class LedgerDesk:
    """A connection to the ledger and the network's treasury, which is the wallet of the folder."""

    def __init__(self, folder: NetworkFolder, layout: Layout, *, chain_id: str, clock: Clock, rng: Rng) -> None:
        self.chain_id = parse_object_id(chain_id, field="chain_id")
        self.clock = clock
        self.rng = rng
        self.ledger = GrpcLedger(layout.address_of("ledger"))
        self.view = LedgerView(ProvenSource(self.ledger, self.chain_id))
        self._wallet_file: Path = folder.wallet_file

    def wallet(self, secret: bytes | None = None) -> Wallet:
        """The account with this secret, or the treasury."""
        secret = read_secret(self._wallet_file) if secret is None else secret
        return Wallet(secret, chain_id=self.chain_id, ledger=self.ledger, clock=self.clock, rng=self.rng)

    async def drive_epochs(self) -> None:
        """Be the epoch controller of this network until cancelled."""
        await EpochDriver(self.view.epoch_state, self.wallet(), clock=self.clock, rng=self.rng).run()

    async def close(self) -> None:
        """Close the connection."""
        await self.ledger.close()
