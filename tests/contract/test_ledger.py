"""What every `Ledger` promises (`haulout.ports.Ledger`), over one script of commands."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from haulout.chain import proof
from haulout.chain.checkpoint import Checkpoint, CheckpointSignature, checkpoint_of
from haulout.chain.verify import check_block
from haulout.client.view import LedgerView, ProvenSource
from haulout.crypto.certificate import bitmap_of
from haulout.crypto.hashing import blake2b256
from haulout.crypto.keyed_hash import KeyedHash
from haulout.crypto.messages import storage_confirmation
from haulout.errors import InvalidInput, Rejected
from haulout.ledger import commands, keys, queries
from haulout.ledger.blobs import derive_blob_id
from haulout.ledger.genesis import DevelopmentNetwork, build_genesis
from haulout.ledger.state import FIRST_DERIVED
from haulout.ledger.transactions import digest_of_bytes, encode_transaction, sign_transaction
from haulout.ports import Finality, Ledger
from haulout.primitives import Digest
from haulout.replica.ledger_store import LedgerStore
from haulout.replica.replica import Replica
from haulout.replica.snapshot import import_snapshot
from haulout.world.memory_store import MemoryStore
from haulout.world.workers import InlineWorkers
from tests.hand_clock import HandClock

WAIT_MS = 10_000
START_MS = 1_800_000_001_000
STATE_ROOT_OF_SCRIPT: list[bytes] = []  # the first ledger's; all others must agree


class Author:
    """Signs the transactions of the suite; nonces count up, so every run writes the same bytes."""

    def __init__(self, network: DevelopmentNetwork) -> None:
        self.network = network
        self._count = 0

    def sign(self, *script: Any, sender: str = "alice") -> bytes:
        self._count += 1
        return encode_transaction(
            sign_transaction(
                self.network.account_secrets[sender],
                self.network.genesis.chain_id,
                script,
                nonce=self._count.to_bytes(16, "big"),
                valid_until_ms=START_MS + 300_000,
            )
        )

    def transfer(self, amount_frost: int = 1) -> bytes:
        return self.sign(commands.Transfer(to=self.network.address("bob"), amount_frost=amount_frost))

    def script(self) -> list[bytes]:
        """Commands of many kinds, some of which the rules refuse."""
        first, second = commands.Created(0, 0), commands.Created(1, 0)
        reserve = commands.ReserveSpace(size_bytes=10 << 20, start_epoch=0, end_epoch=5)
        bob = self.network.address("bob")
        return [
            self.transfer(100),
            self.transfer(10**15),
            self.sign(reserve),
            self.sign(reserve, commands.SplitStorageByEpoch(first, 3)),
            self.sign(reserve, commands.SplitStorageBySize(first, 4 << 20), commands.FuseStorage(first, second)),
            self.sign(reserve, commands.TransferObject(first, bob)),
            self.sign(reserve, commands.DestroyStorage(first)),
            self.sign(commands.DestroyStorage(commands.Existing(bytes(32)))),
            self.sign(commands.ReserveSpace(size_bytes=1, start_epoch=0, end_epoch=10_000)),
            self.sign(commands.RegisterBlob(commands.Existing(bytes(32)), bytes(32), bytes(32), 1, 1, True)),
            self.sign(commands.Transfer(to=bytes(32), amount_frost=1), sender="bob"),
            self.sign(reserve, *self._register_and_certify(b"a permanent blob")),
            self.sign(reserve, *self._register_and_certify(b"refused")[:1], commands.DeleteBlob(second)),
            self.sign(reserve, *self._register_and_certify(b"pending")[:1]),
        ]

    def _register_and_certify(self, content: bytes) -> list[Any]:
        root = blake2b256(content)
        blob_id = derive_blob_id(1, len(content), root)
        message = storage_confirmation(1, blob_id, None)
        scheme = KeyedHash()
        signature = scheme.aggregate([scheme.sign(node.bls_secret, message) for node in self.network.nodes])
        return [
            commands.RegisterBlob(commands.Created(0, 0), blob_id, root, len(content), 1, False),
            commands.CertifyBlob(commands.Created(1, 0), message, signature, bitmap_of(range(4))),
            commands.SetBlobAttribute(commands.Created(1, 0), "name", content.decode()),
        ]


@pytest.fixture
def play(ledger_case: Any, contract_network: DevelopmentNetwork, tmp_path: Path) -> Callable[..., None]:
    """Runs a story with an open ledger and an author."""

    def run(story: Callable[[Ledger, Author], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with ledger_case.open(tmp_path, contract_network, HandClock(START_MS)) as ledger:
                await story(ledger, Author(contract_network))

        ledger_case.run(whole())

    return run


async def play_script(ledger: Ledger, author: Author) -> list[str]:
    reasons = []
    for raw in author.script():
        result = await ledger.submit(raw, wait_ms=WAIT_MS)
        assert result is not None and result.digest == digest_of_bytes(raw)
        reasons.append(result.reason)
    return reasons


def test_one_script_gives_one_state_root_on_every_ledger(play):
    async def story(ledger: Ledger, author: Author) -> None:
        reasons = await play_script(ledger, author)
        assert reasons == [
            "",
            "INSUFFICIENT_FUNDS",
            "",
            "",
            "",
            "",
            "",
            "OBJECT_NOT_FOUND",
            "INVALID_EPOCHS_AHEAD",
            "OBJECT_NOT_FOUND",
            "",
            "",
            "BLOB_NOT_DELETABLE",
            "",
        ]
        status = await ledger.status()
        assert status.head.height == len(reasons) and status.chain_id == author.network.genesis.chain_id
        STATE_ROOT_OF_SCRIPT.append(status.head.state_root)
        assert status.head.state_root == STATE_ROOT_OF_SCRIPT[0]

    play(story)


def test_blocks_are_a_chain_from_genesis_on(play):
    async def story(ledger: Ledger, author: Author) -> None:
        await play_script(ledger, author)
        head = (await ledger.status()).head
        chain = await _take(ledger.blocks(0), head.height + 1)
        assert chain[0].header == build_genesis(author.network.genesis, KeyedHash()).header
        for parent, block in itertools.pairwise(chain):
            check_block(parent.header, block)
        assert chain[-1].header == head
        assert [block.transactions for block in chain[3:5]] == [
            b.transactions for b in await _take(ledger.blocks(3), 2)
        ]

    play(story)


def test_a_stream_of_blocks_goes_on_with_each_new_one(play):
    async def story(ledger: Ledger, author: Author) -> None:
        blocks = ledger.blocks(1)
        waiting = asyncio.ensure_future(anext(blocks))
        await asyncio.sleep(0)
        assert not waiting.done()
        raw = author.transfer()
        await ledger.submit(raw, wait_ms=WAIT_MS)
        assert (await waiting).transactions == (raw,)
        await blocks.aclose()

    play(story)


def test_events_are_numbered_without_gaps_and_resume_by_cursor(play):
    async def story(ledger: Ledger, author: Author) -> None:
        await play_script(ledger, author)
        entry = (await ledger.read([keys.SYSTEM])).entries[0]
        total = queries.system(_One(entry.key, entry.value)).next_sequence
        events = await _take(ledger.events(0), total)
        assert [event.sequence for event in events] == list(range(total))
        assert await _take(ledger.events(total - 3), 3) == events[-3:]
        later = ledger.events(total)
        waiting = asyncio.ensure_future(anext(later))
        await ledger.submit(author.transfer(), wait_ms=WAIT_MS)
        assert (await waiting).sequence == total
        await later.aclose()

    play(story)


def test_the_same_bytes_again_give_the_recorded_result(play):
    async def story(ledger: Ledger, author: Author) -> None:
        raw = author.transfer(7)
        first = await ledger.submit(raw, wait_ms=WAIT_MS)
        assert await ledger.submit(raw, wait_ms=WAIT_MS) == first
        assert await ledger.result(digest_of_bytes(raw)) == first
        assert (await ledger.status()).head.height == 1

    play(story)


def test_a_result_can_be_waited_for(play):
    async def story(ledger: Ledger, author: Author) -> None:
        raw = author.transfer()
        waiting = asyncio.ensure_future(ledger.result(digest_of_bytes(raw), wait_ms=WAIT_MS))
        await asyncio.sleep(0)
        await ledger.submit(raw, wait_ms=0)
        result = await waiting
        assert result is not None and result.is_ok
        assert await ledger.result(Digest(bytes(32))) is None

    play(story)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), "BAD_SIGNATURE"),
        (lambda raw: raw[:1] + bytes([raw[1] ^ 1]) + raw[2:], "WRONG_CHAIN"),
        (lambda raw: b"\x63" + raw[1:], "MALFORMED_TRANSACTION"),
        (lambda raw: raw[:-5], "MALFORMED_TRANSACTION"),
        (lambda raw: raw + b"\x00", "MALFORMED_TRANSACTION"),
        (lambda raw: b"", "MALFORMED_TRANSACTION"),
        (lambda raw: raw + bytes(70_000), "TRANSACTION_TOO_LARGE"),
    ],
)
def test_inadmissible_bytes_are_refused_with_a_code_and_leave_no_block(play, spoil, code):
    async def story(ledger: Ledger, author: Author) -> None:
        with pytest.raises(InvalidInput) as caught:
            await ledger.submit(spoil(author.transfer()), wait_ms=WAIT_MS)
        assert caught.value.code == code
        assert (await ledger.status()).head.height == 0

    play(story)


def test_rows_and_absences_are_proven_against_the_head(play):
    async def story(ledger: Ledger, author: Author) -> None:
        await play_script(ledger, author)
        wanted = [keys.account(author.network.address("alice")), keys.account(b"\x05" * 32), keys.SYSTEM]
        read = await ledger.read(wanted)
        assert [entry.key for entry in read.entries] == wanted
        assert [entry.value is None for entry in read.entries] == [False, True, False]
        for entry in read.entries:
            assert proof.verify(read.header.state_root, entry.key, entry.value, entry.proof)
        assert read.header == (await ledger.status()).head

    play(story)


def test_more_rows_than_one_answer_holds_are_refused_and_a_client_asks_in_parts(play):
    async def story(ledger: Ledger, author: Author) -> None:
        reserve = commands.ReserveSpace(size_bytes=1 << 20, start_epoch=0, end_epoch=2)
        for _ in range(13):
            assert (await ledger.submit(author.sign(*[reserve] * 20), wait_ms=WAIT_MS)).is_ok
        unknown = [keys.account(number.to_bytes(32, "big")) for number in range(257)]
        assert len((await ledger.read(unknown[:256])).entries) == 256
        with pytest.raises(InvalidInput) as refused:
            await ledger.read(unknown)
        assert refused.value.code == "MALFORMED_REQUEST"
        view = LedgerView(ProvenSource(ledger, author.network.genesis.chain_id))
        alice = author.network.address("alice")
        owned = await view.owned_storage(alice)
        assert len(dict(owned)) == 260
        assert {storage.owner for _, storage in owned} == {alice}

    play(story)


def test_a_scan_gives_rows_in_order_up_to_its_limit(play):
    async def story(ledger: Ledger, author: Author) -> None:
        rows = await ledger.scan(b"\x10", b"\x11", limit=100)
        assert [key for key, _ in rows] == sorted(key for key, _ in rows) and rows
        assert {keys.account(author.network.address(name)) for name in ("alice", "bob")} <= {key for key, _ in rows}
        assert list(await ledger.scan(b"\x10", b"\x11", limit=1)) == list(rows[:1])

    play(story)


def test_a_replica_of_it_reaches_the_same_state(play):
    async def story(ledger: Ledger, author: Author) -> None:
        await play_script(ledger, author)
        replica = await Replica.open(
            store=MemoryStore(),
            ledger=ledger,
            genesis=author.network.genesis,
            scheme=KeyedHash(),
            clock=HandClock(START_MS),
            workers=InlineWorkers(),
        )
        running = asyncio.ensure_future(replica.run())
        head = (await ledger.status()).head
        assert await replica.wait_for_height(head.height, timeout_ms=WAIT_MS) == head
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    play(story)


def test_a_snapshot_is_deterministic_and_restores_the_whole_state(play):
    async def story(ledger: Ledger, author: Author) -> None:
        await play_script(ledger, author)
        chunks = [chunk async for chunk in ledger.snapshot()]
        assert [chunk async for chunk in ledger.snapshot()] == chunks
        head = (await ledger.status()).head
        rows = MemoryStore()

        async def stream():
            for chunk in chunks:
                yield chunk

        await import_snapshot(rows, stream(), trusted_digest=head.digest(), workers=InlineWorkers())
        restored = await LedgerStore.open(rows, author.network.genesis, KeyedHash())
        assert restored.head == head
        theirs = await ledger.scan(b"", bytes([0xE0]), limit=1000)
        assert list(restored.view.scan(b"", bytes([0xE0]))) == list(theirs)
        indexes = {key[0] for key, _ in theirs if key[0] >= FIRST_DERIVED}
        assert indexes == {0x80, 0x81, 0x82}, "every index is compared too"

        replica = Replica(restored, ledger, KeyedHash(), HandClock(START_MS), InlineWorkers())
        running = asyncio.ensure_future(replica.run())
        await ledger.submit(author.transfer(), wait_ms=WAIT_MS)
        await replica.wait_for_height(head.height + 1, timeout_ms=WAIT_MS)
        assert replica.head == (await ledger.status()).head
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    play(story)


def test_closing_and_opening_continues_the_chain(ledger_case, contract_network, tmp_path):
    if not ledger_case.persists:
        return

    async def story() -> None:
        author, clock = Author(contract_network), HandClock(START_MS)
        raw = author.transfer()
        async with ledger_case.open(tmp_path, contract_network, clock) as ledger:
            first = await ledger.submit(raw, wait_ms=WAIT_MS)
            head = (await ledger.status()).head
        async with ledger_case.open(tmp_path, contract_network, clock) as ledger:
            assert (await ledger.status()).head == head
            assert await ledger.submit(raw, wait_ms=WAIT_MS) == first
            await ledger.submit(author.transfer(), wait_ms=WAIT_MS)
            assert (await _take(ledger.blocks(2), 1))[0].header.previous_digest == head.digest()

    ledger_case.run(story())


class _One:
    """A view with one row."""

    def __init__(self, key: bytes, value: bytes | None) -> None:
        self._key, self._value = key, value

    def get(self, key: bytes) -> bytes | None:
        return self._value if key == self._key else None


async def _take(stream: Any, count: int) -> list[Any]:
    taken = [await anext(stream) for _ in range(count)]
    await stream.aclose()
    return taken


def _signature(network: DevelopmentNetwork, index: int, checkpoint: Checkpoint) -> CheckpointSignature:
    node = network.nodes[index]
    signature = KeyedHash().sign(node.bls_secret, checkpoint.message())
    return CheckpointSignature(node.node_id, checkpoint, signature)


def test_a_quorum_of_shards_attests_a_block_and_nothing_less_does(play):
    async def story(ledger: Ledger, author: Author) -> None:
        network = author.network
        quiet = await ledger.attestation()
        assert (quiet.wanted_height, quiet.latest) == (0, None)
        await ledger.submit(author.transfer(), wait_ms=WAIT_MS)
        asked = await ledger.attestation(node_id=network.nodes[0].node_id, wait_ms=WAIT_MS)
        assert (asked.wanted_height, asked.signed) == (1, None)

        head = (await ledger.status()).head
        checkpoint = checkpoint_of(head, epoch=1, next_committee=None)
        for index in (0, 1):  # at most 3 + 3 of 10 shards
            await ledger.attest(_signature(network, index, checkpoint))
        await ledger.attest(_signature(network, 1, checkpoint))
        assert (await ledger.attestation()).latest is None
        assert (await ledger.status()).finality == Finality(1, 1, 0)
        await ledger.attest(_signature(network, 2, checkpoint))

        answer = await ledger.attestation(node_id=network.nodes[0].node_id)
        assert answer.latest is not None and answer.latest.checkpoint == checkpoint
        assert answer.signed == _signature(network, 0, checkpoint)
        assert await ledger.epoch_checkpoint(1) == answer.latest
        assert await ledger.epoch_checkpoint(2) is None
        assert (await ledger.status()).finality == Finality(1, 1, 1)

    play(story)


def test_a_signature_of_another_history_or_of_a_stranger_is_refused(play):
    async def story(ledger: Ledger, author: Author) -> None:
        network = author.network
        await ledger.submit(author.transfer(), wait_ms=WAIT_MS)
        assert (await ledger.attestation()).wanted_height == 1
        head = (await ledger.status()).head
        good = checkpoint_of(head, epoch=1, next_committee=None)
        other = checkpoint_of(replace(head, state_root=bytes(32)), epoch=1, next_committee=None)
        stranger = replace(_signature(network, 0, good), node_id=bytes(32))
        forged = replace(_signature(network, 0, good), node_id=network.nodes[1].node_id)
        for given in (_signature(network, 0, other), stranger, forged):
            with pytest.raises(Rejected) as refused:
                await ledger.attest(given)
            assert refused.value.code == "CHECKPOINT_REFUSED"

    play(story)
