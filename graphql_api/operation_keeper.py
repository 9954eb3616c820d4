"""Follows operations to their end, and writes down what became of them.

An operation is a row of the records that says what was begun. Where it stands is asked each time from who knows: the
gateway of an upload, the ledger's own rows of a leave or an epoch, whoever runs the processes of a change of their
number. So nothing that ends or restarts here or there loses one, and what has ended once is told for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql_api.gateway import Gateway
from graphql_api.read_model import changes
from graphql_api.read_model.changes import Taker
from graphql_api.read_model.reading import Reading, ReadModel
from graphql_api.records import operations as kept
from graphql_api.records.database import Records
from graphql_api.records.operations import Name, Operation, Part, Standing
from haulout.errors import HauloutError, NotFound, Rejected, Unavailable
from haulout.ledger.state import Phase
from haulout.observability.logs import get_logger
from haulout.ports import Clock, ClusterControl, Rng
from haulout.primitives import parse_blob_id, parse_object_id

ID_BYTES = 16
PERIOD_MS = 2_000
ROUND_MAX = 50  # operations that are looked at in a period
SETTLING_MS = 60_000  # for so long who runs the processes may not yet show what was asked of it

UPLOAD, DRAIN_NODE, SCALE_CLUSTER, ADVANCE_EPOCH = "UPLOAD", "DRAIN_NODE", "SCALE_CLUSTER", "ADVANCE_EPOCH"
DONE, FAILED = "DONE", "FAILED"
ENDED = frozenset({DONE, FAILED})

log = get_logger("operations")


@dataclass(eq=False)
class NoControl(Rejected):
    """Nobody here runs the processes of the network."""

    code = "NO_CLUSTER_CONTROL"
    template = "this server does not know who runs the network's processes"
    hint = "start it with --control and the address of the supervisor of `haulout up`, or of the operator"


@dataclass(eq=False)
class LeaveCancelled(Rejected):
    """The node stays."""

    code = "LEAVE_CANCELLED"
    template = "the node's leave was taken back"
    hint = "drain it again if it is to go"


@dataclass(eq=False)
class Superseded(Rejected):
    """Another number of nodes was asked for meanwhile."""

    code = "OPERATION_SUPERSEDED"
    template = "another number of nodes was asked for before this one was reached"
    hint = "follow the newer operation"


@dataclass(eq=False)
class ScalingInterrupted(Unavailable):
    """Nobody works on it any more."""

    code = "SCALING_INTERRUPTED"
    template = "there are {have} nodes of {wanted}, and nobody is changing that any more"
    hint = "ask for the number again: it goes on from where it is"
    have: int
    wanted: int


class OperationKeeper:
    """All operations of a network. Keep `run()` going as a task."""

    def __init__(
        self,
        records: Records,
        read_model: ReadModel,
        gateway: Gateway,
        control: ClusterControl | None,
        *,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self.control = control
        self._records = records
        self._read_model = read_model
        self._gateway = gateway
        self._clock = clock
        self._rng = rng
        self._going_on = asyncio.Event()
        self._going_on.set()  # those of an earlier process are looked for first

    async def begin(
        self, kind: str, target: Mapping[str, Any], standing: Standing, name: Name | None = None
    ) -> Operation:
        """Keep a new operation from here on, or the one that was begun under this name.

        Raises:
            NameUsed: that one was begun with another input.
        """
        now_ms = self._clock.now_ms()
        operation_id = self._rng.random_bytes(ID_BYTES).hex()
        operation = Operation(operation_id, kind, target, now_ms, standing, ((standing.phase, now_ms),))
        operation = await self._records.write(kept.begin, operation, name)
        self._going_on.set()
        return operation

    async def find_named(self, name: Name) -> Operation | None:
        """The operation that was begun under a name.

        Raises:
            NameUsed: that one was begun with another input.
        """
        return await self._records.read(kept.find_named, name)

    async def find(self, operation_id: str) -> Operation | None:
        """An operation as it is kept."""
        return await self._records.read(kept.find, operation_id)

    async def supersede(self, kind: str) -> None:
        """End those of a kind that go on: a newer one takes their place."""
        for operation in await self._records.read(kept.unfinished):
            if operation.kind == kind:
                await self._settle(operation, _failed(operation.standing, Superseded()))

    async def look(self, operation: Operation, reading: Reading) -> Operation:
        """An operation as it stands now; as it was kept when who knows cannot be asked."""
        if operation.ended_ms is not None:
            return operation
        try:
            standing = await self._ask(operation, reading)
        except Unavailable as e:
            log.debug("an operation cannot be asked about", kind=operation.kind, code=e.code)
            return operation
        return operation if standing == operation.standing else await self._settle(operation, standing)

    async def run(self) -> None:
        """Look at what goes on until cancelled; nothing is asked while nothing does."""
        last = ""
        while True:
            await self._going_on.wait()
            try:
                last = await self._round(last)
            except HauloutError as e:
                log.warning("operations cannot be followed", code=e.code, problem=str(e))
                self._going_on.set()
            await self._clock.sleep_ms(PERIOD_MS)

    async def _round(self, last: str) -> str:
        """Look at some that go on, behind the one looked at last; returns the last of them."""
        self._going_on.clear()
        waiting = sorted(await self._records.read(kept.unfinished), key=lambda operation: operation.operation_id)
        turn = [operation for operation in waiting if operation.operation_id > last] or waiting
        for operation in turn[:ROUND_MAX]:
            async with self._read_model.reading() as reading:
                await self.look(operation, reading)
            last = operation.operation_id
        if waiting:
            self._going_on.set()
        return last

    async def _settle(self, operation: Operation, standing: Standing) -> Operation:
        ended = standing.phase in ENDED
        changed = await self._records.write(
            lambda connection: kept.advance(
                connection, operation.operation_id, standing, self._clock.now_ms(), ended=ended
            )
        )
        return changed or operation

    # --- who knows ------------------------------------------------------------------------------------------

    async def _ask(self, operation: Operation, reading: Reading) -> Standing:
        match operation.kind:
            case "UPLOAD":
                return await self._ask_gateway(operation)
            case "DRAIN_NODE":
                return await _leave(operation, reading)
            case "ADVANCE_EPOCH":
                return await _epoch(operation, reading)
            case "SCALE_CLUSTER":
                return await self._ask_control(operation)
        return operation.standing  # of a later version of this program

    async def _ask_gateway(self, operation: Operation) -> Standing:
        try:
            document = await self._gateway.ask("GET", f"/v1/uploads/{operation.target['uploadId']}")
        except NotFound as e:
            return _failed(operation.standing, e)
        return upload_standing(document)

    async def _ask_control(self, operation: Operation) -> Standing:
        if self.control is None:
            raise Unavailable("nobody runs the processes")
        report = await self.control.list_processes()
        wanted = int(operation.target["nodes"])
        have = sum(process.role == "node" for process in report.processes)
        is_moving = any(fact.type == "Progressing" and fact.holds for fact in report.conditions)
        blocked = next((fact for fact in report.conditions if fact.type == "ScalingBlocked" and fact.holds), None)
        standing = Standing(
            "CHANGING", min(have, wanted), wanted, error=None if blocked is None else (blocked.reason, blocked.message)
        )
        if is_moving:
            return standing
        if blocked is not None:
            return Standing(FAILED, standing.done, wanted, error=standing.error)
        if have == wanted:
            return Standing(DONE, wanted, wanted)
        if self._clock.now_ms() - operation.started_ms > SETTLING_MS:
            return _failed(standing, ScalingInterrupted(have=have, wanted=wanted))
        return standing


async def _leave(operation: Operation, reading: Reading) -> Standing:
    """A node that was asked to leave: asked, out of the committee with the next epoch, needed by nobody."""
    target = operation.target
    node_id = bytes.fromhex(target["nodeId"])
    found = await reading.run(changes.leaving_of, node_id, int(target["epoch"]), int(target["sequence"]))
    if found is None or found.is_cancelled:
        return _failed(operation.standing, LeaveCancelled())
    standing = _moving(found.takers)
    if found.weight:
        return Standing("LEAVING" if found.is_asked else "REQUESTED", 0, found.weight)
    if standing.done < standing.total or not found.is_asked:
        return standing
    return Standing(DONE, standing.total, standing.total, standing.parts)


async def _epoch(operation: Operation, reading: Reading) -> Standing:
    """An epoch that was begun: it is done when a quorum has its shards, or when its deadline has passed."""
    row, takers = await reading.run(changes.beginning_of, int(operation.target["epoch"]))
    standing = _moving(takers)
    if row is None or row["phase"] == Phase.SYNC.name:
        return standing
    return Standing(DONE, standing.done, standing.total, standing.parts)


def _moving(takers: tuple[Taker, ...]) -> Standing:
    parts = tuple(Part(taker.node_id, taker.planned, taker.arrived == taker.planned) for taker in takers)
    return Standing("MOVING", sum(taker.arrived for taker in takers), sum(taker.planned for taker in takers), parts)


def upload_standing(document: Mapping[str, Any]) -> Standing:
    """Where an upload stands, by the gateway's document of it."""
    error, result = document["error"], document["result"]
    return Standing(
        phase=document["phase"].upper(),
        done=document["doneBytes"],
        total=document["totalBytes"],
        parts=tuple(
            Part(parse_object_id(node["nodeId"]), node["weight"], node["hasConfirmed"], node["problem"])
            for node in document["nodes"]
        ),
        error=None if error is None else (error["code"], error["message"]),
        blob_id=None if result is None else _stored_id(result),
    )


def _stored_id(result: Mapping[str, Any]) -> bytes:
    """The blob id in the answer to a store."""
    stored = result.get("alreadyCertified") or result["newlyCreated"]["blobObject"]
    return parse_blob_id(stored["blobId"])


def _failed(last: Standing, error: HauloutError) -> Standing:
    return Standing(FAILED, last.done, last.total, last.parts, (error.code, str(error)), last.blob_id)
