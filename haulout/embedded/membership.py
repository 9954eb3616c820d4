"""Nodes join and leave the network of this machine: the operator's part of `haulout node add|drain|remove`.

Joining, in order: keys, the number is taken, registration, the process, the ledger's head, the stake. The ledger then
makes it a member with the next epoch. If it stops half-way, the node is there without stake; adding again makes another
one, and this one may be staked on by hand.

Leaving: the governance account asks for it; the next committee is without the node, and its shards are handed over.
Its process is ended only when the ledger says that nobody takes anything from it any more, in a state that the nodes
have attested. A dead node is ended at once; the others rebuild what it had. One that answers is not taken for dead.
"""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass

from haulout.client.view import NodeStanding
from haulout.crypto import ed25519
from haulout.crypto.bls import Bls12381
from haulout.crypto.messages import proof_of_possession
from haulout.embedded.desk import LedgerDesk
from haulout.embedded.folder import NetworkFolder, write_json
from haulout.embedded.layout import MAX_NODES, NoFreePorts, is_free
from haulout.embedded.supervisor import Supervisor
from haulout.errors import DeadlineExceeded, HauloutError, InvalidField, Rejected
from haulout.ledger import queries
from haulout.ledger.commands import RegisterNode, RequestLeave, Stake
from haulout.ledger.genesis import DEFAULT_COMMISSION_BPS, DEFAULT_NODE_CAPACITY_BYTES
from haulout.ledger.refusals import InsufficientFunds, StakeBelowThreshold
from haulout.ledger.staking import MIN_STAKE_FROST
from haulout.primitives import ObjectId, hex_id_text
from haulout.wire.transport import GrpcNodeTransport
from haulout.world.genesis_file import read_genesis

READY_PATIENCE_MS = 240_000
LOOK_AGAIN_MS = 200


@dataclass(eq=False)
class NodeNeeded(Rejected):
    """Others depend on what the node has."""

    code = "NODE_NEEDED"
    template = "{name} is still needed: {n_shards} shards are its own, {n_giving} are being handed over; {problem}"
    hint = "`haulout node drain {name}` waits until it is not; `haulout node remove {name}` is for a dead node"
    name: str
    n_shards: int
    n_giving: int
    problem: str


@dataclass(eq=False)
class NodeAlive(Rejected):
    """A node that was called dead answers."""

    code = "NODE_ALIVE"
    template = "{name} is alive: its health says {status}"
    hint = "`haulout node drain {name}` moves its shards first; to give it up, `haulout node stop {name}` and try again"
    name: str
    status: str


class Membership:
    """Changes who belongs to the network, one change at a time."""

    def __init__(self, folder: NetworkFolder, supervisor: Supervisor, desk: LedgerDesk) -> None:
        self._folder = folder
        self._supervisor = supervisor
        self._desk = desk
        self._one_at_a_time = asyncio.Lock()

    async def add_node(self, stake_frost: int) -> tuple[str, ObjectId]:
        """Start one storage node more, register it, and stake on it once it is at the ledger's head.

        Raises:
            StakeBelowThreshold, InsufficientFunds: before anything is begun.
            InvalidField: there are as many as there may be.
            NoFreePorts: another program listens where it would.
            Rejected: the ledger refuses; a node that is registered then has no stake.
            DeadlineExceeded: it did not come up.
        """
        async with self._one_at_a_time:
            await self._check_stake(stake_frost)
            name = self._take_number()
            secrets = self._make_keys(name)
            node_id = await self._register(name, secrets)
            write_json(self._folder.keys_file_of(name), {**secrets, "nodeId": hex_id_text(node_id)}, mode=0o600)
            await self._supervisor.add_child(name)
            await self._wait_for_head(name)
            if stake_frost:
                await self._desk.wallet().execute([Stake(node_id, stake_frost)])
            return name, node_id

    def node_names(self) -> list[str]:
        """Nodes by number, those on their way out included."""
        return self._supervisor.layout.node_names

    async def standing(self, name: str) -> NodeStanding | None:
        """What depends on a node; None when the ledger does not know it.

        Raises:
            FolderDamaged: its keys cannot be read.
        """
        node_id, _ = self._folder.identity_of(name)
        return await self._desk.view.standing(node_id)

    async def request_leave(self, name: str) -> ObjectId:
        """Have a node leave with the next epoch; asking twice is fine.

        Raises:
            InvalidField: no such node.
            Rejected: the ledger refuses: `COMMITTEE_TOO_SMALL`, or the vote has ended.
        """
        self._require(name)
        node_id, governance = self._folder.identity_of(name)
        epoch = (await self._desk.view.system()).epoch
        try:
            await self._desk.wallet(governance).execute([RequestLeave(node_id, epoch)])
        except Rejected as e:
            if e.code != "POOL_ALREADY_WITHDRAWING":
                raise
        return node_id

    async def remove_node(self, name: str, *, is_dead: bool) -> ObjectId:
        """End a node's process for good, once nothing depends on it, or at once when it is dead.

        Raises:
            InvalidField: no such node.
            NodeAlive: it is to be dead, and answers.
            NodeNeeded: it is no dead node, and others still take something from it.
            Rejected: it is dead and may not leave: the rest would be too few.
        """
        self._require(name)
        if is_dead:
            await self._check_dead(name)
        node_id = await self.request_leave(name)
        async with self._one_at_a_time:
            if is_dead:
                await self._supervisor.stop_node(name)
                return node_id
            await self._check_unneeded(name, node_id)
            shape = self._folder.require_shape()
            removed = (*shape.removed, name)
            self._folder.save_shape(dataclasses.replace(shape, removed=removed))
            layout = dataclasses.replace(self._supervisor.layout, removed=frozenset(removed))
            await self._supervisor.remove_child(name, layout)
            return node_id

    async def _check_dead(self, name: str) -> None:
        transport = GrpcNodeTransport()
        try:
            health = await transport.connect(self._supervisor.layout.address_of(name)).health()
        except HauloutError:
            return  # it does not answer
        finally:
            await transport.close()
        if health.is_serving:
            raise NodeAlive(name=name, status=health.status)

    async def _check_unneeded(self, name: str, node_id: ObjectId) -> None:
        standing = await self._desk.view.standing(node_id)
        if standing is None:
            return
        head = (await self._desk.ledger.status()).head.height
        if standing.is_needed:
            problem = f"epoch {standing.epoch} is in {standing.phase.name.capitalize()}"
        else:
            problem = "that nobody needs it any more is not attested yet"
            for _ in range(50):
                latest = (await self._desk.ledger.attestation()).latest
                if latest is not None and latest.checkpoint.height >= head:
                    return
                await self._desk.clock.sleep_ms(LOOK_AGAIN_MS)
        n_shards = max(standing.n_shards, standing.n_shards_next or 0)
        raise NodeNeeded(name=name, n_shards=n_shards, n_giving=standing.n_giving, problem=problem)

    # --- joining --------------------------------------------------------------------------------------------

    async def _check_stake(self, stake_frost: int) -> None:
        """What the ledger would say of the stake in the end, before there is a node that has none."""
        if not stake_frost:
            return
        if stake_frost < MIN_STAKE_FROST:
            raise StakeBelowThreshold(amount_frost=stake_frost, threshold_frost=MIN_STAKE_FROST)
        treasury = self._desk.wallet().address
        available = await self._desk.view.balance(treasury)
        if available < stake_frost:
            raise InsufficientFunds(address=hex_id_text(treasury), available_frost=available, needed_frost=stake_frost)

    def _take_number(self) -> str:
        """The next number, for good: whatever happens then, no other node gets it."""
        shape = self._folder.require_shape()
        if shape.n_nodes >= MAX_NODES:
            raise InvalidField(field="nodes", problem=f"this machine's ports are for {MAX_NODES} nodes")
        name = f"node-{shape.n_nodes}"
        layout = dataclasses.replace(self._supervisor.layout, n_nodes=shape.n_nodes + 1)
        if not is_free(layout, name):
            raise NoFreePorts(port_base=layout.port_of(name))
        self._folder.save_shape(dataclasses.replace(shape, n_nodes=shape.n_nodes + 1))
        self._supervisor.extend_layout(layout)
        return name

    def _make_keys(self, name: str) -> dict[str, str]:
        rng = self._desk.rng
        secrets = {
            "name": name,
            "blsSecret": Bls12381().generate(rng.random_bytes(32)).hex(),
            "capabilitySecret": rng.random_bytes(32).hex(),
            "governanceSecret": rng.random_bytes(32).hex(),
        }
        write_json(self._folder.keys_file_of(name), secrets, mode=0o600)
        return secrets

    async def _register(self, name: str, secrets: dict[str, str]) -> ObjectId:
        scheme = Bls12381()
        bls = bytes.fromhex(secrets["blsSecret"])
        governor = self._desk.wallet(bytes.fromhex(secrets["governanceSecret"]))
        capability = ed25519.address_of(ed25519.public_key(bytes.fromhex(secrets["capabilitySecret"])))
        founder = read_genesis(self._folder.genesis_file).nodes[0]
        public_key = scheme.public_key(bls)
        epoch = queries.system(await self._desk.view.epoch_state()).epoch
        proof = scheme.sign(bls, proof_of_possession(epoch, governor.address, public_key))
        result = await governor.execute(
            [
                RegisterNode(
                    name=name,
                    addresses=(self._supervisor.layout.address_of(name),),
                    public_key=public_key,
                    network_public_key=b"",
                    proof_of_possession=proof,
                    commission_rate_bps=DEFAULT_COMMISSION_BPS,
                    storage_price_frost=founder.storage_price_frost,
                    write_price_frost=founder.write_price_frost,
                    node_capacity_bytes=DEFAULT_NODE_CAPACITY_BYTES,
                    capability=capability,
                )
            ]
        )
        return ObjectId(result.created[0][0])

    async def _wait_for_head(self, name: str) -> None:
        """Until the new node has executed what the ledger had when it came."""
        wanted = (await self._desk.ledger.status()).head.height
        transport = GrpcNodeTransport()
        api = transport.connect(self._supervisor.layout.address_of(name))
        deadline_us = self._desk.clock.monotonic_us() + READY_PATIENCE_MS * 1000
        try:
            while self._desk.clock.monotonic_us() < deadline_us:
                try:
                    if (await api.health()).height >= wanted:
                        return
                except HauloutError:
                    pass  # it is starting
                await self._desk.clock.sleep_ms(LOOK_AGAIN_MS)
        finally:
            await transport.close()
        raise DeadlineExceeded(operation=f"{name} coming to block {wanted}", timeout_ms=READY_PATIENCE_MS)

    # --- shared ---------------------------------------------------------------------------------------------

    def _require(self, name: str) -> None:
        if name not in self._supervisor.layout.node_names:
            names = ", ".join(self._supervisor.layout.node_names)
            raise InvalidField(field="name", problem=f"{name!r} is not one of {names}")
