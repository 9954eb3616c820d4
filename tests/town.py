"""A small network to follow: genesis with funded accounts, a clock set by hand, signed transfers."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from haulout.crypto.ed25519 import address_of, public_key
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger.commands import Command, Transfer
from haulout.ledger.genesis import build_development_network
from haulout.ledger.transactions import encode_transaction, sign_transaction
from haulout.sequencer.sequencer import Sequencer
from haulout.world.memory_store import MemoryStore
from haulout.world.workers import InlineWorkers
from tests.hand_clock import START_MS, HandClock

EPOCH_MS = 86_400_000


class Town:
    """One network's genesis and the people in it."""

    def __init__(self, seed: bytes = b"\x07" * 32) -> None:
        self.scheme = KeyedHash()
        network = build_development_network(
            node_addresses={f"node-{n}": (f"127.0.0.1:{n}",) for n in range(4)},
            n_shards=10,
            stake_frost=2_000_000_000_000,
            account_funds_frost={"alice": 1_000_000_000_000, "bob": 5_000},
            genesis_time_ms=START_MS,
            epoch_duration_ms=EPOCH_MS,
            seed=seed,
            scheme=self.scheme,
        )
        self.genesis = network.genesis
        self.secrets = network.account_secrets
        self.nodes = network.nodes
        self.clock = HandClock(START_MS + 1_000)
        self._nonce = itertools.count()

    def address(self, name: str) -> bytes:
        return address_of(public_key(self.secrets[name]))

    def transfer(
        self,
        amount_frost: int = 1,
        *,
        sender: str = "alice",
        to: str = "bob",
        nonce: int | None = None,
        n_commands: int = 1,
    ):
        command = Transfer(to=self.address(to), amount_frost=amount_frost)
        return self.signed(sender, *(command,) * n_commands, nonce=nonce)

    def signed(self, sender: str, *commands: Command, nonce: int | None = None) -> bytes:
        """A transaction, good for a while."""
        number = next(self._nonce) if nonce is None else nonce
        signed = sign_transaction(
            self.secrets[sender],
            self.genesis.chain_id,
            commands,
            nonce=number.to_bytes(16, "big"),
            valid_until_ms=self.clock.time_ms + 500_000,
        )
        return encode_transaction(signed)

    async def sequencer(self, store=None) -> Sequencer:
        return await Sequencer.open(
            store=MemoryStore() if store is None else store,
            genesis=self.genesis,
            scheme=self.scheme,
            clock=self.clock,
            workers=InlineWorkers(),
            engine="memory",
        )


@pytest.fixture
def town() -> Town:
    return Town()


@pytest.fixture
async def ledger(town):
    """A running sequencer."""
    sequencer = await town.sequencer()
    running = asyncio.ensure_future(sequencer.run())
    yield sequencer
    sequencer.stop()
    await running
    await sequencer.close()
