"""What clients do in a world: they store, read, extend, delete and ask, and some leave a mess.

Every store draws how it is to be done and every read in which way it comes by the bytes, so that what few people do is
done here as well. While there are troubles an operation may fail with an error of ours; its outcome is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from haulout.client import documents
from haulout.client.errors import BlobUnavailable
from haulout.client.holders import COMMITTEES
from haulout.client.network import Network
from haulout.client.read import read_blob, read_metadata, read_range, stream_blob
from haulout.client.store import AlreadyCertified, StoreRequest, identify
from haulout.codec import ConsistencyCheck
from haulout.codec.errors import InconsistentBlob
from haulout.codec.red_stuff import encode_blob
from haulout.crypto import ed25519
from haulout.errors import HauloutError
from haulout.ledger.commands import DeleteBlob, Existing, ExtendBlob
from haulout.primitives import Address, BlobId, EncodingType
from haulout.sim.client import SimClient
from haulout.sim.clock import VirtualClock
from haulout.sim.oracle import Violation
from haulout.sim.plan import WRITERS, Plan
from haulout.sim.rng import SeededRng
from haulout.sim.witness import Truth
from haulout.sim.world import World
from haulout.sim.writers import ContradictoryStripes, contradict, register_only, store_inconsistent

WRITER: Final = "alice"
READER: Final = "bob"
MESSY: Final = "mallory"
N_EPOCHS: Final = 40
LONGER_EPOCHS: Final = 45
LARGEST_BLOB_BYTES: Final = 40_000
LARGEST_STRIPED_BYTES: Final = 300_000  # with few shards several stripes


class Load:
    """The clients of one world.

    Attributes:
        operations: how what they did ended, by kind and outcome.
        happened: how often writers did wrong, by kind.
    """

    def __init__(
        self,
        world: World,
        plan: Plan,
        truth: Truth,
        rng: SeededRng,
        *,
        operations: Counter[str],
        happened: Counter[str],
    ) -> None:
        self._world = world
        self._plan = plan
        self._truth = truth
        self._rng = rng
        self.operations = operations
        self.happened = happened

    # --- storing --------------------------------------------------------------------------------------------

    async def write(self) -> None:
        """Store the blobs of the plan, one after the other or several at once; now and then change one."""
        rng, clock = self._rng.fork("writer"), VirtualClock()
        pause_ms = max(1, 2 * self._plan.duration_ms // self._plan.n_blobs)
        writes: set[asyncio.Task[None]] = set()
        try:
            for number in range(self._plan.n_blobs):
                writes.add(asyncio.create_task(self._store(rng.fork(f"store {number}"))))
                await clock.sleep_ms(rng.below(pause_ms))
                if rng.below(6) == 0:
                    writes.add(asyncio.create_task(self._change_something(rng.fork(f"change {number}"))))
                if rng.below(6) == 0:
                    writes.add(asyncio.create_task(self._store_again(rng.fork(f"again {number}"))))
            await asyncio.gather(*writes)
        finally:
            for task in writes:
                task.cancel()
            await asyncio.gather(*writes, return_exceptions=True)

    async def _store(self, rng: SeededRng) -> None:
        is_striped = rng.below(5) == 0
        data = rng.random_bytes(_size_bytes(rng, LARGEST_STRIPED_BYTES if is_striped else LARGEST_BLOB_BYTES))
        encoding = EncodingType.RS8 if is_striped else None
        blob_id = self._truth.note_begun(data, encoding)
        request = StoreRequest(
            n_epochs=N_EPOCHS,
            deletable=rng.below(2) == 0,
            reuse_resources=rng.below(3) == 0,
            encoding=encoding,
            send_object_to=self._address(READER) if rng.below(8) == 0 else None,
        )
        await self.attempt("store", self.store_once(blob_id, request, is_visiting=rng.below(4) == 0))

    async def _store_again(self, rng: SeededRng) -> None:
        """Store what is stored already: for as long, for longer, or once more on purpose."""
        known = self._truth.promised()
        if not known:
            return
        blob_id = known[rng.below(len(known))]
        request = StoreRequest(
            n_epochs=(N_EPOCHS, LONGER_EPOCHS)[rng.below(2)],
            deletable=rng.below(2) == 0,
            reuse_resources=rng.below(2) == 0,
            force=rng.below(4) == 0,
            encoding=self._truth.encodings[blob_id],
        )
        await self.attempt("store again", self.store_once(blob_id, request))

    async def store_once(self, blob_id: BlobId, request: StoreRequest, *, is_visiting: bool = False) -> None:
        """Store what was begun; raises as `store_blob`.

        Args:
            is_visiting: from the ledger's proven answers, as a command would, instead of from a replica.
        """
        client, data = self._client(WRITER), self._truth.data[blob_id]
        result = await client.store(data, request, is_visiting=is_visiting)
        if result.blob_id != blob_id:
            raise Violation("D-3", f"{result.blob_id.hex()} was stored, {blob_id.hex()} was meant")
        if len(documents.store_result(result)) != 1:
            raise Violation("answer", f"the answer to the store of {blob_id.hex()} does not say what became of it")
        is_ours = request.deletable and request.send_object_to is None and not isinstance(result, AlreadyCertified)
        self._truth.note_stored(blob_id, result.object_id if is_ours else None)

    async def _change_something(self, rng: SeededRng) -> None:
        """Extend a blob, or delete one."""
        owned = [blob_id for blob_id in self._truth.objects if blob_id not in self._truth.forgotten]
        if not owned:
            return
        blob_id = owned[rng.below(len(owned))]
        target = Existing(self._truth.objects[blob_id])
        client = self._client(WRITER)
        if rng.below(2):
            await self.attempt("extend", client.wallet.execute([ExtendBlob(target, 1)]))
        else:
            self._truth.forgotten[blob_id] = None  # whether or not it comes to that
            await self.attempt("delete", client.wallet.execute([DeleteBlob(target)]))

    # --- reading --------------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Read what there is, in every way there is, until cancelled."""
        rng, clock = self._rng.fork("reader"), VirtualClock()
        while True:
            await clock.sleep_ms(rng.below(4_000))
            known = [*self._truth.promised(), *self._truth.inconsistent]
            if not known:
                continue
            blob_id = known[rng.below(len(known))]
            name = (WRITER, READER)[rng.below(2)]
            what, reading = self._one_way(rng, name, blob_id)
            await self.attempt(what, reading)

    def _one_way(self, rng: SeededRng, name: str, blob_id: BlobId) -> tuple[str, Awaitable[None]]:
        """One of the ways to read a blob; what nobody can make sense of is read as most do."""
        data = self._truth.data.get(blob_id)
        way = 0 if data is None else rng.below(4 if data else 3)
        if way == 1:
            return "read strictly", self._read_strictly(name, blob_id)
        if way == 2:
            return "stream", self._stream(name, blob_id, rng)
        if way == 3:
            return "read range", self._read_part(name, blob_id, rng)
        return "read", self.read_once(name, blob_id)

    async def read_once(self, name: str, blob_id: BlobId) -> None:
        """Read a blob as most do, and compare; raises as `read_blob`."""
        try:
            data = await self._client(name).read(blob_id)
        except InconsistentBlob as e:
            if blob_id in self._truth.data:
                raise Violation("D-5", f"{name} calls {blob_id.hex()} inconsistent, which it is not") from None
            if e.check != COMMITTEES:  # that one stands for all from then on, whatever was read before
                self._truth.verdicts[blob_id].add("inconsistent")
            return
        expected = self._truth.data.get(blob_id)
        if expected is None:
            self._truth.verdicts[blob_id].add("readable")
        elif data != expected:
            raise Violation("D-3", f"{name} read other bytes than {blob_id.hex()} has")

    async def _read_strictly(self, name: str, blob_id: BlobId) -> None:
        async def read(network: Network) -> bytes:
            with await read_blob(network, blob_id, check=ConsistencyCheck.STRICT) as blob:
                return bytes(blob.data)

        await self._compare(name, blob_id, read, range(len(self._truth.data[blob_id])))

    async def _read_part(self, name: str, blob_id: BlobId, rng: SeededRng) -> None:
        part = _part(rng, self._truth.data[blob_id])

        async def read(network: Network) -> bytes:
            with await read_range(network, blob_id, part.start, len(part)) as blob:
                return bytes(blob.data)

        await self._compare(name, blob_id, read, part)

    async def _stream(self, name: str, blob_id: BlobId, rng: SeededRng) -> None:
        """From the ledger's proven answers, and slowly."""
        data = self._truth.data[blob_id]
        part = _part(rng, data) if data and rng.below(2) else range(len(data))
        length = len(part) if len(part) < len(data) else None

        async def read(network: Network) -> bytes:
            metadata = await read_metadata(network, blob_id)
            chunks = []
            stream = stream_blob(network, blob_id, metadata, start=part.start, length=length)
            async with contextlib.aclosing(stream):
                async for chunk in stream:
                    chunks.append(chunk)
                    await network.clock.sleep_ms(rng.below(100))
            return b"".join(chunks)

        await self._compare(name, blob_id, read, part, is_visiting=True)

    async def _compare(
        self,
        name: str,
        blob_id: BlobId,
        read: Callable[[Network], Awaitable[bytes]],
        part: range,
        *,
        is_visiting: bool = False,
    ) -> None:
        client = self._client(name)
        network = client.visiting if is_visiting else client.network

        async def work() -> bytes:
            return await read(network)

        try:
            data = await client.host.machine.run(work(), name="read")
        except InconsistentBlob:
            raise Violation("D-5", f"{name} calls {blob_id.hex()} inconsistent, which it is not") from None
        if data != self._truth.data[blob_id][part.start : part.stop]:
            raise Violation("D-3", f"{name} read other bytes than {blob_id.hex()} has from {part.start} on")

    # --- asking ---------------------------------------------------------------------------------------------

    async def ask(self) -> None:
        """Ask about the network, its nodes and its blobs, as tools do, until cancelled."""
        rng, clock = self._rng.fork("asker"), VirtualClock()
        questions = {
            "info": self._ask_for_info,
            "blob status": self._ask_for_a_blob,
            "node status": self._ask_a_node,
            "account": self._ask_for_an_account,
        }
        while True:
            await clock.sleep_ms(rng.below(8_000))
            what = list(questions)[rng.below(len(questions))]
            client = self._client(READER)
            network = client.visiting if rng.below(2) else client.network
            await self.attempt(what, client.host.machine.run(questions[what](network, rng), name=what))

    async def _ask_for_info(self, network: Network, rng: SeededRng) -> None:
        info = await documents.network_info(network.view, self._client(READER).ledger)
        n_owned = sum(member["nShards"] for member in info["committeeInfo"]["currentStorageNodes"])
        if n_owned != self._plan.n_shards:
            raise Violation("L-5", f"{n_owned} of {self._plan.n_shards} shards are somebody's, says the network's info")

    async def _ask_for_a_blob(self, network: Network, rng: SeededRng) -> None:
        known = list(self._truth.data)
        if not known:
            return
        blob_id = known[rng.below(len(known))]
        data, encoding = self._truth.data[blob_id], self._truth.encodings[blob_id]
        if await identify(network, data, self._plan.n_shards, encoding) != (blob_id, encoding or EncodingType.RS2):
            raise Violation("D-3", f"{blob_id.hex()} is computed to be another blob")
        epoch, is_invalid = (await network.view.system()).epoch, await network.view.is_invalid(blob_id)
        status = documents.blob_status(await network.view.blob_record(blob_id), epoch=epoch, is_invalid=is_invalid)
        if is_invalid:
            raise Violation("D-5", f"{blob_id.hex()} is right, and its status is {status}")

    async def _ask_a_node(self, network: Network, rng: SeededRng) -> None:
        secrets = self._world.secrets(self._world.any_node_name(rng))
        await network.view.standing(secrets.node_id)
        api = network.transport.connect(secrets.addresses[0])
        await api.health()
        await api.list_incomplete(after=None, limit=10)
        known = list(self._truth.certified)
        if known:
            await api.blob_status(blob_id=known[rng.below(len(known))])

    async def _ask_for_an_account(self, network: Network, rng: SeededRng) -> None:
        address = self._address((WRITER, READER)[rng.below(2)])
        await network.view.balance(address)
        for object_id, _ in await network.view.owned_blobs(address):
            await network.view.blob(object_id)
        for object_id, _ in await network.view.owned_storage(address):
            await network.view.storage(object_id)
        await network.view.owned_stakes(address)

    # --- a mess ---------------------------------------------------------------------------------------------

    async def make_a_mess(self) -> None:
        """What bad writers do, from an account of their own."""
        rng, clock = self._rng.fork("mess"), VirtualClock()
        kinds = [kind for kind in WRITERS if kind in self._plan.kinds]
        while kinds:
            await clock.sleep_ms(1_000 + rng.below(20_000))
            kind = kinds[rng.below(len(kinds))]
            client = self._client(MESSY)
            if kind == "inconsistent blob":
                self.happened[kind] += await self.attempt(kind, self._store_inconsistent(client, rng))
                continue
            data = rng.random_bytes(1 + _size_bytes(rng, LARGEST_BLOB_BYTES))
            if kind == "half upload":
                self.happened[kind] += await self._upload_half(client, data, rng)
            else:
                encoded = encode_blob(data, self._plan.n_shards)
                registration = register_only(client.network, client.wallet, encoded)
                self.happened[kind] += await self.attempt(kind, registration)

    async def _upload_half(self, client: SimClient, data: bytes, rng: SeededRng) -> bool:
        """Begin to store a blob and go away; says whether it was before the end."""
        request = StoreRequest(n_epochs=2, encoding=EncodingType.RS8 if rng.below(2) else None)
        try:
            async with asyncio.timeout(rng.below(300) / 1000):
                await self.attempt("half upload", client.store(data, request))
        except TimeoutError:
            return True
        return False

    async def _store_inconsistent(self, client: SimClient, rng: SeededRng) -> None:
        """As most blobs are encoded, or in stripes; brought to all, or only to as many as are needed."""
        is_striped = rng.below(2) == 0
        size_bytes = 1 + _size_bytes(rng, LARGEST_STRIPED_BYTES if is_striped else LARGEST_BLOB_BYTES)
        data, other = rng.random_bytes(size_bytes), rng.random_bytes(size_bytes)
        blob = (ContradictoryStripes if is_striped else contradict)(data, other, self._plan.n_shards)
        first_left_out = rng.below(len(self._world.node_names)) if rng.below(2) else None
        self._truth.inconsistent[blob.blob_id] = None  # it may be certified although that is not heard of
        storing = store_inconsistent(client.network, client.wallet, blob, first_left_out=first_left_out)
        await client.host.machine.start(storing)

    # --- shared ---------------------------------------------------------------------------------------------

    async def attempt(self, what: str, action: Awaitable[object]) -> bool:
        """Do something that may fail while there are troubles; says whether it did not."""
        try:
            await action
        except HauloutError as e:
            if self._plan.is_fair and isinstance(e, BlobUnavailable):
                raise Violation("read", f"{what} failed although nobody but liars was in its way: {e}") from e
            self.operations[f"{what}: {e.code}"] += 1
            self._world.fabric.note(f"{what}: {e.code}")
            return False
        self.operations[f"{what}: ok"] += 1
        return True

    def _client(self, name: str) -> SimClient:
        return self._world.client(name)

    def _address(self, account: str) -> Address:
        return ed25519.address_of(ed25519.public_key(self._world.network.account_secrets[account]))


def _size_bytes(rng: SeededRng, largest_bytes: int) -> int:
    """Mostly small, now and then large: what goes into rows, into packs and into files of its own."""
    return rng.below(largest_bytes >> rng.below(12))


def _part(rng: SeededRng, data: bytes) -> range:
    start = rng.below(len(data))
    return range(start, start + 1 + rng.below(len(data) - start))
