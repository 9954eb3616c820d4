"""Blobs that belong to nobody: accounts give theirs up, anybody puts money in and has them extended from that.

Some are stored for hardly longer than an epoch and live on what others put in: what is promised of them is promised
once that has been paid. Whoever gave one up also tries to have it back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from haulout.client.shared import extend_shared_blob, fund_shared_blob, share_blob
from haulout.client.store import NewlyCreated, StoreRequest
from haulout.errors import HauloutError
from haulout.ledger.commands import (
    BurnBlob,
    Command,
    DeleteBlob,
    Existing,
    ExtendBlob,
    FundSharedBlob,
    SetBlobAttribute,
    ShareBlob,
    TransferObject,
)
from haulout.ledger.genesis import DEFAULT_STORAGE_PRICE_FROST
from haulout.primitives import ObjectId
from haulout.sim.client import SimClient
from haulout.sim.clock import VirtualClock
from haulout.sim.load import MESSY, N_EPOCHS, READER, WRITER, Load
from haulout.sim.oracle import Violation
from haulout.sim.plan import SHARED, Plan
from haulout.sim.rng import SeededRng
from haulout.sim.witness import Truth
from haulout.sim.world import World

PAUSE_MS: Final = 8_000
SHORT_EPOCHS: Final = 2
SMALLEST_BYTES: Final = 32  # no other blob has the same content, and with it the same id
LARGEST_BYTES: Final = 8_000
LONG_LIFE_FROST: Final = 10 * N_EPOCHS * DEFAULT_STORAGE_PRICE_FROST


class Sharing:
    """What becomes of blobs that are everybody's, in one world.

    Attributes:
        happened: how often anything did, under one name.
    """

    def __init__(
        self, world: World, plan: Plan, truth: Truth, load: Load, happened: Counter[str], rng: SeededRng
    ) -> None:
        self._world = world
        self._plan = plan
        self._truth = truth
        self._load = load
        self._rng = rng
        self.happened = happened
        self._shared: dict[ObjectId, str] = {}  # with the account that gave it up

    async def run(self) -> None:
        """One thing after the other, if the plan has them, until cancelled."""
        clock = VirtualClock()
        while SHARED in self._plan.kinds:
            await clock.sleep_ms(self._rng.below(PAUSE_MS))
            names = list(ACTIONS) if self._shared else ["store shared", "share"]
            what = names[self._rng.below(len(names))]
            self.happened[SHARED] += await self._load.attempt(what, ACTIONS[what](self))

    async def store_shared(self) -> None:
        """Store a blob for a short time as everybody's; somebody else pays for a long one."""
        data = self._rng.random_bytes(SMALLEST_BYTES + self._rng.below(LARGEST_BYTES))
        blob_id = self._truth.note_begun(data)
        self._truth.forgotten[blob_id] = None  # until it is known to last
        request = StoreRequest(n_epochs=SHORT_EPOCHS, deletable=False, share=True)
        stored = await self._client(WRITER).store(data, request)
        if not isinstance(stored, NewlyCreated):
            return  # a certificate that was thought lost had arrived; whose object it is the answer does not say
        self._shared[stored.object_id] = WRITER

        async def keep(client: SimClient) -> None:
            await fund_shared_blob(client.network, client.wallet, stored.object_id, LONG_LIFE_FROST)
            await extend_shared_blob(client.network, client.wallet, stored.object_id, N_EPOCHS - SHORT_EPOCHS)

        await self._as(READER, keep)
        del self._truth.forgotten[blob_id]
        self._truth.note_stored(blob_id, None)

    async def share(self) -> None:
        """Give up a blob that is there; now and then as the ledger has it, deletable or not yet certified."""
        name = (WRITER, READER)[self._rng.below(2)]
        is_careful, amount = self._rng.below(4) > 0, self._some_frost()

        async def give_up(client: SimClient) -> None:
            owned = await client.network.view.owned_blobs(client.wallet.address)
            wanted = [object_id for object_id, blob in owned if not (is_careful and blob.deletable)]
            if not wanted:
                return
            object_id = wanted[self._rng.below(len(wanted))]
            if is_careful:
                await share_blob(client.network, client.wallet, object_id, amount)
            else:
                await client.wallet.execute([ShareBlob(Existing(object_id), amount)])
            self._shared[object_id] = name

        await self._as(name, give_up)

    async def fund(self) -> None:
        """Put money in, or nothing, which is refused."""
        object_id = self._any_shared()
        command = FundSharedBlob(Existing(object_id), self._some_frost())
        await self._as(self._anybody(), lambda client: client.wallet.execute([command]))

    async def extend(self) -> None:
        """Have one extended from what it holds, if that is enough."""
        object_id, n_epochs = self._any_shared(), 1 + self._rng.below(3)
        await self._as(
            self._anybody(), lambda client: extend_shared_blob(client.network, client.wallet, object_id, n_epochs)
        )

    async def take_back(self) -> None:
        """Have whoever gave a blob up treat it as their own."""
        object_id = self._any_shared()
        name, target = self._shared[object_id], Existing(object_id)
        client = self._client(name)
        commands: list[Command] = [
            DeleteBlob(target),
            BurnBlob(target),
            TransferObject(target, client.wallet.address),
            SetBlobAttribute(target, "mine", "still"),
            ExtendBlob(target, 1),
            ShareBlob(target, 1),
        ]
        command = commands[self._rng.below(len(commands))]
        try:
            await self._as(name, lambda client: client.wallet.execute([command]))
        except HauloutError:
            return  # refused, or never arrived
        raise Violation("shared", f"{name} could {type(command).__name__} what it had given up, {object_id.hex()}")

    # --- who and what ---------------------------------------------------------------------------------------

    async def _as(self, name: str, work: Callable[[SimClient], Awaitable[object]]) -> None:
        client = self._client(name)

        async def run() -> None:
            await work(client)

        await client.host.machine.run(run(), name="sharing")

    def _client(self, name: str) -> SimClient:
        return self._world.client(name)

    def _anybody(self) -> str:
        return (WRITER, READER, MESSY)[self._rng.below(3)]

    def _any_shared(self) -> ObjectId:
        return list(self._shared)[self._rng.below(len(self._shared))]

    def _some_frost(self) -> int:
        """Nothing, or what keeps a small blob for a few epochs."""
        return self._rng.below(4) * DEFAULT_STORAGE_PRICE_FROST + self._rng.below(2)


ACTIONS: Final[dict[str, Callable[[Sharing], Awaitable[None]]]] = {
    "store shared": Sharing.store_shared,
    "share": Sharing.share,
    "fund shared": Sharing.fund,
    "extend shared": Sharing.extend,
    "take back shared": Sharing.take_back,
}
