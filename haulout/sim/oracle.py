"""Sees everything and says what may never be: the invariants of a world, checked while it runs and at its end.

L-1  all replicas have the same block at each height           D-1  a certified blob can always be decoded
L-2  executing the chain again from genesis gives its roots    D-2  after the calm every node has all of its slivers
L-3… money, capacity, shards, records: `ledger.invariants`     D-3  a read gives the exact bytes or an error
L-6  epochs advance by one                                     D-4  all readers get the same verdict on a blob
L-7  a certificate has n - f of weight of its own epoch        D-5  nobody calls a right blob inconsistent
L-8  a stake is paid out once, not before it is due            D-6  what a node has signed for is there
D-7  shards are complete where they are said to be, and        D-8  nobody signs two blocks of one height
     stay where they come from until then
read a reader who meets nothing but liars gets what there is
"""

from __future__ import annotations

from collections.abc import Iterable

from haulout import bcs
from haulout.chain import tree
from haulout.chain.block import Block
from haulout.codec import rs8
from haulout.codec.metadata import BlobMetadata, Sliver
from haulout.crypto import messages
from haulout.crypto.messages import StorageConfirmation
from haulout.ledger import invariants, queries
from haulout.ledger.apply import apply_block
from haulout.ledger.events import BlobCertified, CommitteeMemberRecord, EpochStarted, Event, ShardsReceived
from haulout.ledger.genesis import build_genesis
from haulout.ledger.state import Member
from haulout.node import rules
from haulout.node.errors import CorruptRecord
from haulout.node.records import SliverName, bit_of
from haulout.node.rules import mask_of
from haulout.node.vault import Vault
from haulout.primitives import Axis, BlobId, EncodingType, ObjectId, min_decodable, pair_of_shard, sliver_index_of_pair
from haulout.replica.ledger_rows import FIRST_OWN
from haulout.sim.clock import VirtualClock
from haulout.sim.faults import Troubles
from haulout.sim.host import Host
from haulout.sim.payouts import Payouts
from haulout.sim.plan import Plan
from haulout.sim.processes import LEDGER
from haulout.sim.shared_funds import SharedFunds
from haulout.sim.witness import Truth, WitnessedScheme
from haulout.sim.world import World
from haulout.world.memory_store import MemoryStore

LOOK_MS = 500
LOOKS_BETWEEN_FULL_ONES = 10


class Violation(AssertionError):
    """Something happened that may never happen."""

    def __init__(self, invariant: str, problem: str) -> None:
        super().__init__(f"{invariant}: {problem}")
        self.invariant = invariant


class Oracle:
    """Watches one world. `look` is cheap, `look_closely` reads the whole state, `judge` everything there is."""

    def __init__(self, world: World, plan: Plan, truth: Truth, scheme: WitnessedScheme, troubles: Troubles) -> None:
        self._world = world
        self._plan = plan
        self._truth = truth
        self._scheme = scheme
        self._troubles = troubles
        self._digests: dict[int, bytes] = {}  # of blocks by height
        self._blocks: list[Block] = []  # from the first one on, whether or not they are still kept
        self._shards: dict[int, dict[ObjectId, frozenset[int]]] = {}  # by epoch, by node
        self._weights: dict[int, dict[bytes, int]] = {}  # by epoch, by public key
        self._starts: dict[str, int] = {}
        self._shared = SharedFunds()
        self._payouts = Payouts()
        self._certified: dict[BlobId, int] = {}  # epoch of the first certificate
        self._epoch = 0
        self._held: dict[tuple[str, BlobId], int] = {}  # durable slivers by node and blob, as seen last
        self._primary_mask = sum(bit_of(shard_index, Axis.PRIMARY) for shard_index in range(plan.n_shards))

    @property
    def n_epochs(self) -> int:
        """Epochs seen."""
        return len(self._shards)

    async def watch(self) -> None:
        """Look on until cancelled; raises `Violation`."""
        n_looks = 0
        while True:
            await VirtualClock().sleep_ms(LOOK_MS)
            self.look()
            n_looks += 1
            if n_looks % LOOKS_BETWEEN_FULL_ONES == 0:
                self.look_closely()

    async def follow(self) -> None:
        """Only see what the ledger does, until cancelled; raises `Violation`."""
        while True:
            await VirtualClock().sleep_ms(LOOK_MS)
            self._follow_ledger()

    # --- while it runs --------------------------------------------------------------------------------------

    def look(self) -> None:
        """What can be seen at a glance."""
        if self._world.failures:
            raise Violation("actor", repr(self._world.failures[0])) from self._world.failures[0]
        if self._scheme.contradictions:
            raise Violation("D-8", self._scheme.contradictions[0])
        self._follow_ledger()
        for host in self._world.hosts.values():
            if host.name in self._world.misled:
                continue
            self._check_replica(host)
        for host in self._watched():
            if self._starts.get(host.name) != host.n_starts:
                self._check_promises(host)
                self._starts[host.name] = host.n_starts

    def look_closely(self) -> None:
        """The whole state, and every promise of every node that is on."""
        sequencer = self._world.hosts[LEDGER].sequencer
        if sequencer is not None:
            rows = sequencer.store.view.scan(b"", b"\xff" * 40)
            state = MemoryStore({key: value for key, value in rows if not FIRST_OWN <= key < tree.PREFIX})
            for problem in invariants.find_violations(state):
                raise Violation("L-3", problem)
            for problem in self._shared.compare(state):
                raise Violation("L-3", problem)
        for host in self._watched():
            self._check_promises(host)
        self._check_decodable()
        for blob_id in self._scheme.called_invalid():
            if blob_id in self._truth.data:
                raise Violation("D-5", f"{blob_id.hex()} is right and was called inconsistent")

    def is_settled(self) -> bool:
        """No shard is on its way."""
        sequencer = self._world.hosts[LEDGER].sequencer
        return sequencer is not None and next(queries.open_hand_overs(sequencer.store.view), None) is None

    def _follow_ledger(self) -> None:
        sequencer = self._world.hosts[LEDGER].sequencer
        if sequencer is None:
            return
        store = sequencer.store
        if not self._digests:
            committee = queries.committee(store.view)
            self._note_committee(committee.epoch, committee.members)
        first = max(self._digests, default=-1) + 1
        for height in range(max(first, store.oldest_height, 1), store.head.height + 1):
            applied = store.applied(height)
            if height != len(self._blocks) + 1:
                raise Violation("L-2", f"block {height - 1} was forgotten before anybody could see it")
            self._digests[height] = applied.header.digest()
            self._blocks.append(applied.block)
            for event in applied.events:
                self._check_event(event)
        known = self._digests.get(store.head.height)
        if known is not None and known != store.head.digest():
            raise Violation("L-1", f"the ledger has another block {store.head.height} than before")

    def _note_committee(self, epoch: int, members: Iterable[Member | CommitteeMemberRecord]) -> None:
        members = list(members)
        owned = sorted(shard_index for member in members for shard_index in member.shards)
        if owned != list(range(self._plan.n_shards)):
            raise Violation("L-5", f"the shards of epoch {epoch} do not have one owner each")
        self._shards[epoch] = {ObjectId(member.node_id): frozenset(member.shards) for member in members}
        self._weights[epoch] = {member.public_key: len(member.shards) for member in members}
        self._epoch = epoch

    def _check_event(self, event: Event) -> None:
        body = event.body
        if problem := self._shared.note(body):
            raise Violation("L-3", problem)
        if problem := self._payouts.note(event):
            raise Violation("L-8", problem)
        if isinstance(body, EpochStarted):
            if body.epoch != self._epoch + 1:
                raise Violation("L-6", f"epoch {body.epoch} follows epoch {self._epoch}")
            self._note_committee(body.epoch, body.members)
        if isinstance(body, BlobCertified) and not body.is_extension:
            self._check_certificate(event, body)
            self._certified.setdefault(BlobId(body.blob_id), event.epoch)
        if isinstance(body, ShardsReceived):
            self._check_received(body)

    def _check_certificate(self, event: Event, body: BlobCertified) -> None:
        """Enough nodes of the epoch have really signed, whatever the ledger made of it."""
        name = f"the certificate of {body.blob_id.hex()}"
        message = messages.parse(body.message)
        confirmation = message.body
        if not isinstance(confirmation, StorageConfirmation) or confirmation.blob_id != body.blob_id:
            raise Violation("L-7", f"{name} is about something else")
        if message.epoch != event.epoch:
            raise Violation("L-7", f"{name} is of epoch {message.epoch}, accepted in epoch {event.epoch}")
        signers = self._scheme.signers[body.message]
        weight = sum(weight for key, weight in self._weights[event.epoch].items() if key in signers)
        if 3 * weight <= 2 * self._plan.n_shards:  # in its own words: what the actors call a quorum is what is checked
            raise Violation("L-7", f"{name} was signed by {weight} of {self._plan.n_shards} shards")

    def _check_received(self, body: ShardsReceived) -> None:
        """D-7: a node that says it has its shards has them, of all blobs certified before."""
        watched = [host for host in self._watched() if self._world.secrets(host.name).node_id == body.node_id]
        if not watched or watched[0].node is None:
            return
        host, node = watched[0], watched[0].node
        view, duty = node.vault.view, node.vault.duty()
        mask = mask_of(set(body.shards) & set(duty.shards))
        for blob_id in self._truth.promised():
            is_older = self._certified.get(blob_id, body.epoch) < body.epoch
            if not is_older or not rules.is_wanted(view, blob_id, duty.epoch):
                continue
            if mask & ~node.vault.slivers.held_mask(blob_id, durable_only=True):
                raise Violation("D-7", f"{host.name} reports shards of epoch {body.epoch} and lacks {blob_id.hex()}")

    def _check_replica(self, host: Host) -> None:
        replica = host.replica
        if replica is None:
            return
        if replica.diverged is not None:
            raise Violation("L-1", f"{host.name} diverged: {replica.diverged}")
        known = self._digests.get(replica.head.height)
        if known is not None and known != replica.head.digest():
            raise Violation("L-1", f"{host.name} has another block {replica.head.height} than the ledger")

    def _is_honest(self, host: Host) -> bool:
        return host.name not in self._plan.liars

    def _watched(self) -> list[Host]:
        """Nodes that are on, honest, undamaged and on the true ledger."""
        return [
            host
            for host in self._world.hosts.values()
            if host.node is not None
            and self._is_honest(host)
            and host.name not in self._troubles.damaged
            and host.name not in self._world.misled
        ]

    def _check_promises(self, host: Host) -> None:
        """D-6, D-7: a node has what it confirmed while somebody pays, of shards that it owns or still hands over.

        Its replica may have been set back by a crash, or lost: what is over by the ledger was rightly dropped.
        """
        node, ledger = host.node, self._world.hosts[LEDGER].sequencer
        if node is None or ledger is None:
            return
        truth, node_id = ledger.store.view, node.identity.node_id
        moving = list(queries.open_hand_overs(truth, from_node=node_id))
        view, duty, now = node.vault.view, node.vault.duty(), queries.system(truth).epoch
        is_level = node.vault.height == ledger.head.height  # then both say the same
        confirmed = self._scheme.confirmed_by(node.identity.public_key)
        masks: dict[int, tuple[int, int]] = {}  # by epoch of the confirmation: kept, given
        for blob_id in self._truth.promised():
            epoch = confirmed.get(blob_id)
            if epoch is None or not rules.is_wanted(truth, blob_id, now):
                continue
            if not is_level and not rules.is_wanted(view, blob_id, duty.epoch):
                continue
            if epoch not in masks:
                masks[epoch] = (
                    mask_of(self._owned_throughout(node_id, range(epoch, now + 1)) & set(duty.shards)),
                    mask_of(
                        shard.shard_index
                        for shard in moving
                        if epoch < shard.epoch
                        and shard.shard_index in self._owned_throughout(node_id, range(epoch, shard.epoch))
                    ),
                )
            kept, given = masks[epoch]
            held = node.vault.slivers.held_mask(blob_id, durable_only=True)
            if kept & ~held:
                raise Violation("D-6", f"{host.name} has confirmed {blob_id.hex()} and lacks slivers of it")
            if given & ~held:
                raise Violation("D-7", f"{host.name} has dropped {blob_id.hex()} before it was handed over")

    def _check_decodable(self) -> None:
        """D-1, at this moment: of every blob, honest disks hold primary slivers enough, whoever is on and owns them."""
        dishonest = self._plan.liars.union(self._troubles.damaged)
        honest = [name for name in self._world.node_names if name not in dishonest]
        for blob_id in self._truth.promised():
            held = 0
            for name in honest:
                node = self._world.hosts[name].node
                if node is not None:
                    self._held[name, blob_id] = node.vault.slivers.held_mask(blob_id, durable_only=True)
                # Of one that is off and was never looked at with this blob all is believed, until it is on.
                held |= self._held.get((name, blob_id), self._primary_mask)
            n_held = (held & self._primary_mask).bit_count()
            if n_held < min_decodable(self._plan.n_shards):
                raise Violation("D-1", f"{n_held} primary slivers of {blob_id.hex()} are left on honest disks")

    def _owned_throughout(self, node_id: ObjectId, epochs: range) -> frozenset[int]:
        owned = [self._shards.get(epoch, {}).get(node_id, frozenset()) for epoch in epochs]
        return frozenset.intersection(*owned) if owned else frozenset()

    # --- when all is calm -----------------------------------------------------------------------------------

    async def find_damage(self) -> None:
        """Have every node scrub what it holds once, so that damage is found and repaired."""
        for host in self._world.hosts.values():
            if host.node is not None:
                await host.node.scrubber.run_once()

    async def judge(self) -> None:
        """The final word: state, chain, and every sliver of every node."""
        self.look()
        self.look_closely()
        await self._check_chain()
        for blob_id in self._truth.promised():
            if blob_id in self._truth.data:
                await self._check_slivers(blob_id)
        for blob_id, verdicts in self._truth.verdicts.items():
            if len(verdicts) > 1:
                raise Violation("D-4", f"readers disagree on {blob_id.hex()}: {', '.join(sorted(verdicts))}")

    async def _check_chain(self) -> None:
        """L-2: execute everything again."""
        sequencer = self._world.hosts[LEDGER].sequencer
        assert sequencer is not None, "the ledger is on when all is calm"
        scheme = self._world.scheme
        out = build_genesis(self._world.network.genesis, scheme)
        state = MemoryStore({key: value for key, value in out.writes.items() if value is not None})
        for block in self._blocks:
            out = apply_block(state, out.header, block.header.time_ms, block.transactions, scheme)
            if out.header != block.header:
                raise Violation("L-2", f"executing block {block.header.height} again gives another header")
            await state.commit(out.writes)
        if sequencer.head != out.header:
            raise Violation("L-2", f"the ledger ends with block {sequencer.head.height}, not {out.header.height}")

    async def _check_slivers(self, blob_id: BlobId) -> None:
        """D-1 and D-2: every honest node has every sliver of its shards, and they are the right ones."""
        n_shards, encoded = self._plan.n_shards, self._truth.encoded(blob_id)
        n_good = 0
        for host in self._world.hosts.values():
            if host.node is None or not self._is_honest(host):
                continue
            vault = host.node.vault
            if not rules.is_wanted(vault.view, blob_id, vault.duty().epoch):
                return
            for shard_index in vault.duty().shards:
                pair_index = pair_of_shard(shard_index, blob_id, n_shards)
                for axis in Axis:
                    where = f"{host.name}, shard {shard_index}, {axis.name.lower()} sliver of {blob_id.hex()}"
                    expected = encoded.sliver(axis, sliver_index_of_pair(pair_index, axis, n_shards))
                    try:
                        stored = await _stored_sliver(vault, encoded.metadata, blob_id, (shard_index, axis))
                    except CorruptRecord as e:
                        raise Violation("D-2", f"{where}: {e}") from e
                    if stored is None:
                        raise Violation("D-2", f"{where} is missing")
                    if stored != bytes(expected.data):
                        raise Violation("D-1", f"{where} is wrong")
                n_good += 1
        if n_good < min_decodable(n_shards):
            raise Violation("D-1", f"{blob_id.hex()} is on {n_good} honest shards")


async def _stored_sliver(vault: Vault, metadata: BlobMetadata, blob_id: BlobId, name: SliverName) -> bytes | None:
    """The data of a sliver as it stands on a node's disk; of one in stripes all segments together."""
    shard_index, axis = name
    if metadata.encoding_type is not EncodingType.RS8:
        raw = await vault.slivers.get_sliver(blob_id, shard_index, axis)
        return None if raw is None else bytes(bcs.decode(Sliver, raw).data)
    n_segments = rs8.striping_of_blob(metadata).n_segments
    pieces = [await vault.slivers.pieces.get(blob_id, (shard_index, axis, n)) for n in range(n_segments)]
    return None if None in pieces else b"".join(bytes(piece.data) for piece in pieces if piece is not None)
