"""The ledger as the operator asks it: facts for the planner, and the few transactions of the treasury."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from haulout.account.wallet import Wallet
from haulout.chain.block import TransactionResult
from haulout.client import protocol_votes
from haulout.client.network import Network
from haulout.client.view import LedgerView, ProvenSource
from haulout.crypto.schemes import SignatureScheme
from haulout.driver.due_step import find_due_step
from haulout.errors import HauloutError
from haulout.ledger import keys, queries
from haulout.ledger.commands import (
    AdvanceEpoch,
    CancelLeave,
    Command,
    Existing,
    RegisterNode,
    RequestLeave,
    SetVotes,
    Stake,
    Withdraw,
)
from haulout.ledger.genesis import (
    DEFAULT_COMMISSION_BPS,
    DEFAULT_STORAGE_PRICE_FROST,
    DEFAULT_WRITE_PRICE_FROST,
    Genesis,
)
from haulout.ledger.state import ObjectKind, Phase
from haulout.ports import Clock, Ledger, NodeTransport, Rng, Workers
from haulout_operator.identity import NodeKeys, address_of
from haulout_operator.names import ledger_address, node_address
from haulout_operator.observed import LedgerFacts, LedgerNode, NodeReport, SampleRead
from haulout_operator.sample import WithoutNode, read_sample

PAGE_ROWS = 1_000
PAGE_KEYS = 100
PHASES = {Phase.DONE: "Done", Phase.VOTED: "Voted", Phase.SYNC: "Sync"}


class Rows:
    """A few rows of the state as a view, for `haulout.ledger.queries`."""

    def __init__(self, rows: Mapping[bytes, bytes]) -> None:
        self._rows = dict(sorted(rows.items()))

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def scan(
        self, start: bytes, end: bytes, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        found = [(key, value) for key, value in self._rows.items() if start <= key < end]
        return iter((found[::-1] if reverse else found)[:limit])


class LedgerDesk:
    """Connections to the ledgers and nodes of all networks of a namespace."""

    def __init__(
        self,
        *,
        connect: Callable[[str], Ledger],
        transport: NodeTransport,
        scheme: SignatureScheme,
        clock: Clock,
        rng: Rng,
        workers: Workers,
    ) -> None:
        """Nothing connects yet; `connect` opens the ledger at an address, once for each."""
        self._connect = connect
        self._transport = transport
        self._scheme = scheme
        self._clock = clock
        self._rng = rng
        self._workers = workers
        self._ledgers: dict[str, Ledger] = {}

    def of(self, network: str, namespace: str) -> Ledger:
        """The ledger of a network."""
        address = ledger_address(network, namespace)
        if address not in self._ledgers:
            self._ledgers[address] = self._connect(address)
        return self._ledgers[address]

    async def report_of(self, node: str, namespace: str) -> NodeReport | None:
        """What a node says of itself, or None when it does not answer."""
        try:
            told = await self._transport.connect(node_address(node, namespace)).health()
        except HauloutError:
            return None
        holds = len({*told.shards, *told.gaining, *told.giving})
        is_full = "DiskFull" in told.status.split()
        return NodeReport(
            node_id=told.node_id,
            height=told.height,
            epoch=told.epoch,
            is_full=is_full,
            holds=holds,
            moving_bytes=told.moving_bytes,
            moved_bytes=told.moved_bytes,
            stored_bytes=told.stored_bytes,
            release=told.release,
            protocol_version=told.protocol_version,
        )

    async def sample_without(self, network: str, namespace: str, genesis: Genesis, node: str) -> SampleRead | None:
        """Read a few blobs without a node; None when the ledger does not answer."""
        ledger = self.of(network, namespace)
        reader = self._client(ledger, genesis, WithoutNode(self._transport, node_address(node, namespace)))
        try:
            return await read_sample(reader, ledger)
        except HauloutError:
            return None

    async def register(
        self, ledger: Ledger, genesis: Genesis, treasury: bytes, node: NodeKeys, *, address: str, capacity_bytes: int
    ) -> TransactionResult:
        """Register a node that the treasury governs.

        Raises:
            HauloutError: the ledger refuses it, or does not answer.
        """
        facts = queries.system(Rows(await read_rows(ledger, [keys.SYSTEM])))
        command = RegisterNode(
            name=node.name,
            addresses=(address,),
            public_key=self._scheme.public_key(node.bls_secret),
            network_public_key=b"",
            proof_of_possession=node.prove_possession(self._scheme, epoch=facts.epoch, governance=address_of(treasury)),
            commission_rate_bps=DEFAULT_COMMISSION_BPS,
            storage_price_frost=DEFAULT_STORAGE_PRICE_FROST,
            write_price_frost=DEFAULT_WRITE_PRICE_FROST,
            node_capacity_bytes=capacity_bytes,
            capability=node.capability,
        )
        return await self._execute(ledger, genesis, treasury, [command])

    async def stake(
        self, ledger: Ledger, genesis: Genesis, treasury: bytes, *, node_id: bytes, amount_frost: int
    ) -> TransactionResult:
        """Stake from the treasury.

        Raises:
            HauloutError: the ledger refuses it, or does not answer.
        """
        return await self._execute(ledger, genesis, treasury, [Stake(node_id=node_id, amount_frost=amount_frost)])

    async def vote_capacity(
        self, ledger: Ledger, genesis: Genesis, capability: bytes, *, node_id: bytes, capacity_bytes: int
    ) -> TransactionResult:
        """Say in a node's name how much it can hold; its other votes stay as they are.

        Raises:
            HauloutError: the ledger refuses it, or does not answer.
        """
        vote = SetVotes(
            node_id=node_id, storage_price_frost=None, write_price_frost=None, node_capacity_bytes=capacity_bytes
        )
        return await self._execute(ledger, genesis, capability, [vote])

    async def request_leave(
        self, ledger: Ledger, genesis: Genesis, treasury: bytes, *, node_id: bytes, epoch: int
    ) -> TransactionResult:
        """Ask the ledger to let a node go.

        Raises:
            HauloutError: the ledger refuses it, or does not answer.
        """
        return await self._execute(ledger, genesis, treasury, [RequestLeave(node_id=node_id, expected_epoch=epoch)])

    async def cancel_leave(
        self, ledger: Ledger, genesis: Genesis, treasury: bytes, *, node_id: bytes, epoch: int
    ) -> TransactionResult:
        """Ask the ledger to let a node stay after all.

        Raises:
            HauloutError: the ledger refuses it, or does not answer.
        """
        return await self._execute(ledger, genesis, treasury, [CancelLeave(node_id=node_id, expected_epoch=epoch)])

    async def withdraw(self, ledger: Ledger, genesis: Genesis, treasury: bytes, *, stake: bytes) -> TransactionResult:
        """Take a stake back.

        Raises:
            HauloutError: the ledger refuses it, or does not answer.
        """
        return await self._execute(ledger, genesis, treasury, [Withdraw(staked=Existing(stake))])

    async def advance_epoch(
        self, ledger: Ledger, genesis: Genesis, treasury: bytes, *, epoch: int
    ) -> TransactionResult:
        """Do what is left of an epoch now.

        Raises:
            HauloutError: the ledger refuses it, or does not answer.
        """
        return await self._execute(ledger, genesis, treasury, [AdvanceEpoch(expected_epoch=epoch)])

    async def activate_protocol(
        self, ledger: Ledger, genesis: Genesis, treasury: bytes, *, version: int, start_epoch: int
    ) -> protocol_votes.Activation:
        """Have the treasury's nodes vote for the next version of the rules, and the ledger take it.

        Raises:
            HauloutError: too few vote, the ledger refuses it, or does not answer.
        """
        client = self._client(ledger, genesis, self._transport)
        wallet = self._wallet(ledger, genesis, treasury)
        return await protocol_votes.activate(
            client, ledger, wallet, [treasury], version=version, start_epoch=start_epoch
        )

    def _client(self, ledger: Ledger, genesis: Genesis, transport: NodeTransport) -> Network:
        return Network(
            view=LedgerView(ProvenSource(ledger, genesis.chain_id)),
            transport=transport,
            scheme=self._scheme,
            clock=self._clock,
            rng=self._rng,
            workers=self._workers,
        )

    def _wallet(self, ledger: Ledger, genesis: Genesis, secret: bytes) -> Wallet:
        return Wallet(secret, chain_id=genesis.chain_id, ledger=ledger, clock=self._clock, rng=self._rng)

    async def _execute(
        self, ledger: Ledger, genesis: Genesis, secret: bytes, commands: Sequence[Command]
    ) -> TransactionResult:
        return await self._wallet(ledger, genesis, secret).execute(commands)


async def read_facts(ledger: Ledger, treasury: bytes | None) -> LedgerFacts:
    """Where the ledger stands.

    Args:
        treasury: address of the account whose balance and stakes are told, None when it is not known.

    Raises:
        HauloutError: it does not answer, or answers nonsense.
    """
    wanted = [keys.PARAMS, keys.SYSTEM, keys.STAKING]
    if treasury is not None:
        wanted.append(keys.account(treasury))
    rows = Rows(await read_rows(ledger, wanted))
    params, system, staking = queries.params(rows), queries.system(rows), queries.staking(rows)
    next_epoch = system.epoch + 1
    both = Rows(
        await read_rows(ledger, [keys.committee(system.epoch), keys.committee(next_epoch), keys.bucket(next_epoch)])
    )
    shards = {member.node_id: member.shards for member in queries.committee(both, system.epoch).members}
    following = queries.find_committee(both, next_epoch)
    chosen = set() if following is None else {member.node_id for member in following.members}
    nodes = Rows(await _scan(ledger, keys.table_range(keys.NODE)))
    hand_overs = Rows(await _scan(ledger, keys.table_range(keys.HAND_OVER)))
    open_ones = list(queries.open_hand_overs(hand_overs))
    kept = queries.kept_hand_overs(hand_overs, is_settled=queries.is_settled(rows))
    moves = list(queries.hand_overs_of_epoch(hand_overs, system.epoch))
    stakes = await _read_stakes(ledger, treasury)
    facts: dict[str, LedgerNode] = {}
    for node_id, node in queries.nodes(nodes):
        facts[node.name] = LedgerNode(
            node_id=node_id,
            name=node.name,
            governance=node.governance,
            is_leaving=node.leaving,
            stake_frost=node.balance_frost + sum(node.pending_stake.values()),
            capacity_bytes=node.node_capacity_bytes,
            shards=shards.get(node_id, ()),
            is_next=node_id in chosen,
            open_hand_overs=sum(move.from_node == node_id for move in kept),
            incoming=sum(move.to_node == node_id for move in open_ones),
            has_reported=node.last_sync_done_epoch >= system.epoch,
            stakes=tuple(stake for stake, target in stakes if target == node_id),
        )
    step = find_due_step(rows)
    status = await ledger.status()  # after the rows: what it says is attested covers them when it covers its head
    return LedgerFacts(
        chain_id=params.chain_id,
        height=status.head.height,
        attested_height=0 if status.finality is None else status.finality.attested,
        protocol_version=system.protocol_version,
        next_protocol=system.next_protocol,
        knows=status.protocol_version,
        epoch=system.epoch,
        phase=PHASES[staking.phase],
        phase_since_ms=staking.phase_since_ms,
        epoch_duration_ms=params.epoch_duration_ms,
        is_forced=staking.forced,
        synced_weight=staking.sync_weight,
        n_shards=params.n_shards,
        is_manual=params.manual_epochs,
        treasury_frost=0 if treasury is None else queries.balance(rows, treasury),
        nodes=facts,
        due_ms=None if step is None else step.due_ms,
        booked_bytes=queries.bucket(both, next_epoch).used_bytes,
        moves_total=len(moves),
        moves_done=sum(move.done for move in moves),
        moving=frozenset(move.shard_index for move in open_ones),
    )


async def _read_stakes(ledger: Ledger, owner: bytes | None) -> list[tuple[bytes, bytes]]:
    """Object and node of every stake that an account owns."""
    if owner is None:
        return []
    owned = Rows(await _scan(ledger, keys.owned_range(owner, ObjectKind.STAKED_WAL)))
    ids = list(queries.owned_ids(owned, owner, ObjectKind.STAKED_WAL))
    rows: dict[bytes, bytes] = {}
    for at in range(0, len(ids), PAGE_KEYS):
        rows |= await read_rows(ledger, [keys.staked_wal(one) for one in ids[at : at + PAGE_KEYS]])
    view = Rows(rows)
    found = [(object_id, queries.staked_wal(view, object_id)) for object_id in ids]
    return [(object_id, staked.node_id) for object_id, staked in found if staked is not None]


async def _scan(ledger: Ledger, key_range: tuple[bytes, bytes]) -> dict[bytes, bytes]:
    """All rows of a range, page by page."""
    rows: dict[bytes, bytes] = {}
    start, end = key_range
    while True:
        page = await ledger.scan(start, end, limit=PAGE_ROWS)
        rows.update(page)
        if len(page) < PAGE_ROWS:
            return rows
        start = page[-1][0] + b"\x00"


async def read_rows(ledger: Ledger, wanted: Sequence[bytes]) -> dict[bytes, bytes]:
    """Rows that exist, of those asked for; not verified."""
    answer = await ledger.read(wanted)
    return {entry.key: entry.value for entry in answer.entries if entry.value is not None}
