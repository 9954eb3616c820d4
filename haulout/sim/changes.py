"""The network changes hands while it works: stake that swings, nodes that join and nodes that leave.

All of it is done by accounts with signed transactions, as people would; whether it is allowed the ledger says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from haulout.crypto import ed25519
from haulout.crypto.messages import proof_of_possession
from haulout.errors import HauloutError
from haulout.ledger import queries
from haulout.ledger.commands import Existing, RegisterNode, RequestLeave, RequestWithdraw, Stake, Withdraw
from haulout.ledger.genesis import (
    DEFAULT_COMMISSION_BPS,
    DEFAULT_NODE_CAPACITY_BYTES,
    DEFAULT_STORAGE_PRICE_FROST,
    DEFAULT_WRITE_PRICE_FROST,
    NodeSecrets,
)
from haulout.primitives import ObjectId
from haulout.sim.client import SimClient
from haulout.sim.clock import VirtualClock
from haulout.sim.plan import WAL, Plan
from haulout.sim.rng import SeededRng
from haulout.sim.world import World

LARGEST_STAKE_WAL: Final = 3_000
READY_MS: Final = 120_000


class Changes:
    """What holders and operators do in one world.

    Attributes:
        happened: how often each kind did.
        leaving: nodes that have asked to leave, by name.
    """

    def __init__(self, world: World, plan: Plan, treasury: str, happened: Counter[str], rng: SeededRng) -> None:
        self._world = world
        self._plan = plan
        self._treasury = treasury
        self._rng = rng
        self.happened = happened
        self.leaving: dict[str, None] = {}
        self._staked: list[ObjectId] = []

    async def run(self) -> None:
        """All changes of the plan, one after the other, until cancelled; what came to nothing is not counted."""
        kinds = [kind for kind in CATALOGUE if kind in self._plan.kinds]
        clock = VirtualClock()
        while kinds:
            await clock.sleep_ms(1_000 + self._rng.below(self._plan.change_pause_ms))
            kind = kinds[self._rng.below(len(kinds))]
            try:
                self.happened[kind] += await CATALOGUE[kind](self)
            except HauloutError as e:
                self._world.fabric.note(f"{kind}: {e.code}")

    async def swing_stake(self) -> bool:
        """Stake a lot on somebody, take a stake back, or ask once more for one that was paid out."""
        if self._staked and self._rng.below(3) == 0:
            await self._take_back()
            return True
        name = self._world.any_node_name(self._rng)
        if "false sync-done" in self._plan.kinds and self._rng.below(2):
            name = self._plan.bad_nodes[0]  # it has to gain shards to lie about them
        node_id = self._world.secrets(name).node_id
        amount = (1 + self._rng.below(LARGEST_STAKE_WAL)) * WAL
        result = await self._client.wallet.execute([Stake(node_id, amount)])
        self._staked.append(ObjectId(result.created[0][0]))
        return True

    async def _take_back(self) -> None:
        staked = Existing(self._staked[self._rng.below(len(self._staked))])
        command = RequestWithdraw(staked) if self._rng.below(3) == 0 else Withdraw(staked)
        await self._client.wallet.execute([command])

    async def join(self) -> bool:
        """Register a node, start it, and stake on it once it is at the ledger's head."""
        number = len(self._world.node_names)
        if number >= len(self._plan.stakes_frost) + self._plan.most_joins:
            return False
        secrets = self._make_secrets(f"node-{number}")
        replica = self._client.host.replica
        if replica is None:
            return False
        epoch = queries.system(replica.view).epoch
        result = await self._client.wallet.execute([self._registration(secrets, epoch)])
        node_id = ObjectId(result.created[0][0])
        await self._world.add_node(
            NodeSecrets(
                secrets.name,
                node_id,
                secrets.addresses,
                secrets.bls_secret,
                secrets.capability_secret,
                secrets.governance_secret,
            )
        )
        await self._world.until(
            lambda: self._world.is_complete(secrets.name), f"{secrets.name} follows", within_ms=READY_MS
        )
        await self._client.wallet.execute([Stake(node_id, (1_000 + self._rng.below(1_000)) * WAL)])
        return True

    async def leave(self) -> bool:
        """A node's owner asks to leave; whether the rest is enough is the ledger's to say."""
        names = [name for name in self._world.node_names if name not in self.leaving]
        name = names[self._rng.below(len(names))]
        secrets = self._world.secrets(name)
        view = self._client.host.replica.view if self._client.host.replica is not None else None
        if view is None or queries.node(view, secrets.node_id) is None:
            return False
        governance = secrets.governance_secret if name in self._plan.stakes_frost else self._treasury_secret
        wallet = self._client.wallet_of(governance)
        await wallet.execute([RequestLeave(secrets.node_id, queries.system(view).epoch)])
        self.leaving[name] = None
        return True

    @property
    def _client(self) -> SimClient:
        return self._world.client(self._treasury)

    @property
    def _treasury_secret(self) -> bytes:
        return self._world.network.account_secrets[self._treasury]

    def _make_secrets(self, name: str) -> NodeSecrets:
        bls = self._world.scheme.generate(self._rng.random_bytes(32))
        return NodeSecrets(
            name, ObjectId(bytes(32)), (f"{name}:1",), bls, self._rng.random_bytes(32), self._treasury_secret
        )

    def _registration(self, secrets: NodeSecrets, epoch: int) -> RegisterNode:
        """Made and governed by the treasury; good in this epoch."""
        scheme = self._world.scheme
        public_key = scheme.public_key(secrets.bls_secret)
        owner = ed25519.address_of(ed25519.public_key(self._treasury_secret))
        proof = scheme.sign(secrets.bls_secret, proof_of_possession(epoch, owner, public_key))
        return RegisterNode(
            name=secrets.name,
            addresses=secrets.addresses,
            public_key=public_key,
            network_public_key=b"",
            proof_of_possession=proof,
            commission_rate_bps=DEFAULT_COMMISSION_BPS,
            storage_price_frost=DEFAULT_STORAGE_PRICE_FROST,
            write_price_frost=DEFAULT_WRITE_PRICE_FROST,
            node_capacity_bytes=DEFAULT_NODE_CAPACITY_BYTES,
            capability=ed25519.address_of(ed25519.public_key(secrets.capability_secret)),
        )


CATALOGUE: Final[dict[str, Callable[[Changes], Awaitable[bool]]]] = {
    "stake swing": Changes.swing_stake,
    "join": Changes.join,
    "leave": Changes.leave,
}
