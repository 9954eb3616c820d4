"""The client's own verified view of the ledger: existence, committee and prices come from here, never from nodes.

Two sources give rows: a replica, which has executed every block itself, and the ledger's answers with a state proof
for each row. What rows mean is read by the same functions everywhere (`ledger.queries`), over the rows that a
question needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from haulout.chain.verify import check_row
from haulout.errors import Corrupt
from haulout.ledger import keys, queries
from haulout.ledger.queries import BlobExistence, ShardHandOver
from haulout.ledger.state import (
    Blob,
    BlobRecord,
    Committee,
    Node,
    ObjectKind,
    Params,
    Phase,
    StakedWal,
    Staking,
    Storage,
    System,
    View,
)
from haulout.ports import Ledger
from haulout.primitives import BlobId, ObjectId
from haulout.replica.replica import Replica

SCAN_LIMIT = 1_000
READ_LIMIT = 256  # rows in one proven answer
REACH_TIMEOUT_MS = 10_000

Rows = Mapping[bytes, bytes | None]


class RowSource(Protocol):
    """Where verified rows come from."""

    async def fetch(self, wanted: Sequence[bytes]) -> Rows:
        """Rows, verified; of one state when there are at most `READ_LIMIT`."""

    async def scan(self, start: bytes, end: bytes, *, limit: int) -> Sequence[bytes]:
        """Keys of an index in a range; their rows are fetched, and so verified, by the caller."""

    async def reach(self, height: int) -> None:
        """Return when rows are of this block or a later one."""


@dataclass(frozen=True, slots=True)
class NodeStanding:
    """What depends on a node. `n_shards_next` is None until the vote has ended."""

    name: str
    epoch: int
    phase: Phase
    is_leaving: bool
    n_shards: int
    n_shards_next: int | None
    n_gaining: int
    n_giving: int

    @property
    def is_needed(self) -> bool:
        """It owns shards, will own some, or keeps some that others took: until they have them, and the epoch in which
        they say so is settled."""
        return bool(self.n_shards or self.n_shards_next or self.n_giving)


def _weight_in(committee: Committee, node_id: bytes) -> int:
    return sum(member.weight for member in committee.members if member.node_id == node_id)


class FetchedRows:
    """A `View` over the rows that were fetched; asking for another one is our mistake."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def get(self, key: bytes) -> bytes | None:
        return self._rows[key]

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        raise AssertionError("ranges are scanned by the source")


class ReplicaSource:
    """Rows of a replica: verified by having executed every block."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def fetch(self, wanted: Sequence[bytes]) -> Rows:
        view = self._replica.view
        return {key: view.get(key) for key in wanted}

    async def scan(self, start: bytes, end: bytes, *, limit: int) -> Sequence[bytes]:
        return [key for key, _ in self._replica.view.scan(start, end, limit=limit)]

    async def reach(self, height: int) -> None:
        await self._replica.wait_for_height(height, timeout_ms=REACH_TIMEOUT_MS)


class ProvenSource:
    """Rows that the ledger hands out with proofs against the head's state root.

    For commands that live for a second. The head itself is the ledger's word for now: a client that must not take
    it follows the chain as a replica does.
    """

    def __init__(self, ledger: Ledger, chain_id: bytes) -> None:
        self._ledger = ledger
        self._chain_id = chain_id

    async def fetch(self, wanted: Sequence[bytes]) -> Rows:
        rows: dict[bytes, bytes | None] = {}
        for start in range(0, len(wanted), READ_LIMIT):
            rows.update(await self._fetch_some(wanted[start : start + READ_LIMIT]))
        return rows

    async def _fetch_some(self, wanted: Sequence[bytes]) -> Rows:
        answer = await self._ledger.read(wanted)
        if answer.header.chain_id != self._chain_id:
            raise Corrupt(f"the ledger answers for chain {answer.header.chain_id.hex()}, not {self._chain_id.hex()}")
        rows: dict[bytes, bytes | None] = {}
        for entry in answer.entries:
            check_row(answer.header, entry.key, entry.value, entry.proof)
            rows[entry.key] = entry.value
        missing = [key for key in wanted if key not in rows]
        if missing:
            raise Corrupt(f"the ledger left out {len(missing)} of the rows that were asked for")
        return rows

    async def scan(self, start: bytes, end: bytes, *, limit: int) -> Sequence[bytes]:
        return [key for key, _ in await self._ledger.scan(start, end, limit=limit)]

    async def reach(self, height: int) -> None:
        """The ledger answers from its head, which is never behind a result that it gave."""


class LedgerView:
    """Typed questions to a source of verified rows."""

    def __init__(self, source: RowSource) -> None:
        self._source = source

    async def reach(self, height: int) -> None:
        """Return when answers are of this block or a later one: read your own writes."""
        await self._source.reach(height)

    async def params(self) -> Params:
        return queries.params(await self._rows(keys.PARAMS))

    async def system(self) -> System:
        return queries.system(await self._rows(keys.SYSTEM))

    async def staking(self) -> Staking:
        return queries.staking(await self._rows(keys.STAKING))

    async def epoch_state(self) -> View:
        """The rows that say where the epoch stands, as a view: parameters, system and staking."""
        return await self._rows(keys.PARAMS, keys.SYSTEM, keys.STAKING)

    async def plan_state(self) -> View:
        """The rows from which the next committee is planned, as a view."""
        return await self._rows_of_epoch(
            lambda epoch: (
                keys.PARAMS,
                keys.STAKING,
                keys.NEXT,
                keys.bucket(epoch),
                keys.committee(epoch),
                keys.committee(epoch + 1),
            )
        )

    async def node_id_of_name(self, name: str) -> ObjectId | None:
        """The node with this name."""
        return queries.node_id_of_name(await self._rows(keys.node_name(name)), name)

    async def standing(self, node_id: ObjectId) -> NodeStanding | None:
        """How much of the network depends on a node; None when there is no such node."""
        rows = await self._rows_of_epoch(
            lambda epoch: (
                keys.PARAMS,
                keys.STAKING,
                keys.node(node_id),
                keys.committee(epoch),
                keys.committee(epoch + 1),
            )
        )
        node, epoch = queries.node(rows, node_id), queries.system(rows).epoch
        if node is None:
            return None
        moving = await self.open_hand_overs()
        is_settled = queries.is_settled(rows)
        kept = moving if is_settled else await self._known_hand_overs()
        coming = queries.next_committee(rows)
        return NodeStanding(
            name=node.name,
            epoch=epoch,
            phase=queries.phase(rows),
            is_leaving=node.leaving,
            n_shards=_weight_in(queries.committee(rows, epoch), node_id),
            n_shards_next=None if coming is None else _weight_in(coming, node_id),
            n_gaining=sum(record.to_node == node_id for record in moving),
            n_giving=sum(record.from_node == node_id for record in kept),
        )

    async def owned_stakes(self, owner: bytes) -> list[tuple[ObjectId, StakedWal]]:
        """An account's stakes, by id."""
        ids = await self._owned_ids(owner, ObjectKind.STAKED_WAL)
        rows = await self._rows(*(keys.staked_wal(object_id) for object_id in ids))
        found = [(object_id, queries.staked_wal(rows, object_id)) for object_id in ids]
        return [(object_id, staked) for object_id, staked in found if staked is not None and staked.owner == owner]

    async def committee(self) -> Committee:
        """The current committee."""
        epoch = (await self.system()).epoch
        return queries.committee(await self._rows(keys.committee(epoch)), epoch)

    async def open_hand_overs(self) -> list[ShardHandOver]:
        """Shards that are on their way, at most `SCAN_LIMIT`; done ones are left out."""
        start, end = keys.table_range(keys.HAND_OVER_OF_SHARD)
        places = [key[3:] + key[1:3] for key in await self._source.scan(start, end, limit=SCAN_LIMIT)]
        return [record for record in await self._hand_overs(places) if not record.done]

    async def _known_hand_overs(self) -> list[ShardHandOver]:
        """Shards that moved in the last epochs, at most `SCAN_LIMIT`, whether or not they have arrived."""
        start, end = keys.table_range(keys.HAND_OVER)
        return await self._hand_overs([key[1:] for key in await self._source.scan(start, end, limit=SCAN_LIMIT)])

    async def _hand_overs(self, places: Sequence[bytes]) -> list[ShardHandOver]:
        if not places:
            return []
        rows = await self._rows(*(keys.HAND_OVER + place for place in places))
        found = [queries.find_hand_over(rows, place) for place in places]
        return [record for record in found if record is not None]

    async def nodes(self, node_ids: Sequence[bytes]) -> dict[ObjectId, Node]:
        """Nodes by id; those that are not there are left out."""
        rows = await self._rows(*(keys.node(node_id) for node_id in node_ids))
        found = {ObjectId(node_id): queries.node(rows, node_id) for node_id in node_ids}
        return {node_id: node for node_id, node in found.items() if node is not None}

    async def all_nodes(self) -> dict[ObjectId, Node]:
        """Every node that is registered, member or not."""
        return await self.nodes([key[1:] for key in await self._scan_all(*keys.table_range(keys.NODE))])

    async def blob_record(self, blob_id: BlobId) -> BlobRecord | None:
        return queries.blob_record(await self._rows(keys.blob_record(blob_id)), blob_id)

    async def is_invalid(self, blob_id: BlobId) -> bool:
        return queries.invalidated_epoch(await self._rows(keys.invalid_blob(blob_id)), blob_id) is not None

    async def blob_existence(self, blob_id: BlobId) -> BlobExistence | None:
        """The blob as readers need it, or None when it does not exist."""
        rows = await self._rows(keys.SYSTEM, keys.blob_record(blob_id), keys.invalid_blob(blob_id))
        return queries.blob_existence(rows, blob_id)

    async def blob(self, object_id: ObjectId) -> Blob | None:
        return queries.blob(await self._rows(keys.blob(object_id)), object_id)

    async def shared_funds(self, object_ids: Sequence[ObjectId]) -> dict[ObjectId, int]:
        """What shared blobs have for extensions, in FROST; objects that are not shared are left out."""
        rows = await self._rows(*(keys.shared_blob(object_id) for object_id in object_ids))
        found = {object_id: queries.shared_blob(rows, object_id) for object_id in object_ids}
        return {object_id: shared.funds_frost for object_id, shared in found.items() if shared is not None}

    async def storage(self, object_id: ObjectId) -> Storage | None:
        return queries.storage(await self._rows(keys.storage(object_id)), object_id)

    async def balance(self, address: bytes) -> int:
        return queries.balance(await self._rows(keys.account(address)), address)

    async def owned_blobs(self, owner: bytes) -> list[tuple[ObjectId, Blob]]:
        """An account's blob objects, by id."""
        ids = await self._owned_ids(owner, ObjectKind.BLOB)
        rows = await self._rows(*(keys.blob(object_id) for object_id in ids))
        found = [(object_id, queries.blob(rows, object_id)) for object_id in ids]
        return [(object_id, blob) for object_id, blob in found if blob is not None and blob.owner == owner]

    async def owned_storage(self, owner: bytes) -> list[tuple[ObjectId, Storage]]:
        """An account's free storage resources, by id; at most `SCAN_LIMIT`."""
        start, end = keys.owned_range(owner, ObjectKind.STORAGE)
        ids = [ObjectId(key[-32:]) for key in await self._source.scan(start, end, limit=SCAN_LIMIT)]
        rows = await self._rows(*(keys.storage(object_id) for object_id in ids))
        found = [(object_id, queries.storage(rows, object_id)) for object_id in ids]
        return [(object_id, storage) for object_id, storage in found if storage is not None and storage.owner == owner]

    async def registrations(self, blob_id: BlobId, owner: bytes) -> list[tuple[ObjectId, Blob]]:
        """An account's live objects of one blob id, those that end last first; at most `SCAN_LIMIT` are looked at."""
        ids: list[ObjectId] = []
        for is_certified in (True, False):
            start, end = keys.blob_object_range(blob_id, is_certified)
            ids += [ObjectId(key[-32:]) for key in await self._source.scan(start, end, limit=SCAN_LIMIT)]
        rows = await self._rows(*(keys.blob(object_id) for object_id in ids))
        found = [(object_id, queries.blob(rows, object_id)) for object_id in ids]
        mine = [(i, blob) for i, blob in found if blob is not None and blob.owner == owner and blob.blob_id == blob_id]
        return sorted(mine, key=lambda item: item[1].end_epoch, reverse=True)

    async def _owned_ids(self, owner: bytes, kind: ObjectKind) -> list[ObjectId]:
        return [ObjectId(key[-32:]) for key in await self._scan_all(*keys.owned_range(owner, kind))]

    async def _scan_all(self, start: bytes, end: bytes) -> list[bytes]:
        """All keys of a range, page by page."""
        found: list[bytes] = []
        while True:
            page = await self._source.scan(start, end, limit=SCAN_LIMIT)
            found += page
            if len(page) < SCAN_LIMIT:
                return found
            start = page[-1] + b"\x00"

    async def _rows_of_epoch(self, wanted: Callable[[int], tuple[bytes, ...]]) -> FetchedRows:
        """The system and rows whose keys name the epoch it is in: looked up again when another one began meanwhile."""
        epoch = (await self.system()).epoch
        while True:
            rows = await self._rows(keys.SYSTEM, *wanted(epoch))
            found = queries.system(rows).epoch
            if found == epoch:
                return rows
            epoch = found

    async def _rows(self, *wanted: bytes) -> FetchedRows:
        return FetchedRows(await self._source.fetch(wanted) if wanted else {})
