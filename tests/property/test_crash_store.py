"""Power cuts under the SQLite store, at every operation it makes.

SQLite runs on a file system that writes down each operation (a VFS of apsw over real files). From that journal a
disk is built as it may look when the power goes after operation k, for every k: what was synced is there, and of
what was not, nothing, everything, a torn beginning, or any part in any order, torn at 512 bytes. Each image is
opened by the store as it ships. It must hold exactly the rows of some moment between the last acknowledged durable
commit and the commit under way: nothing acknowledged is missing, nothing is half there.

The same check has to fail on a disk whose sync does nothing, and on a store that skips its syncs.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import apsw

from haulout.chain import tree
from haulout.chain.block import BlockHeader, TransactionResult
from haulout.crypto.keyed_hash import KeyedHash
from haulout.errors import HauloutError
from haulout.ledger.commands import Transfer
from haulout.ledger.genesis import Genesis, build_development_network
from haulout.ledger.transactions import encode_transaction, sign_transaction
from haulout.replica.ledger_store import LedgerStore
from haulout.sequencer.sequencer import Sequencer
from haulout.world.clock import SystemClock
from haulout.world.sqlite_store import SqliteStore
from haulout.world.workers import InlineWorkers

SECTOR_BYTES = 512
COMMITS = 24

Rows = dict[bytes, bytes]


@dataclass(frozen=True)
class Operation:
    """One change of a file: a write of bytes at an offset, or a cut to a size."""

    offset: int
    data: bytes | None  # None: truncate to `offset`

    def apply(self, content: bytearray, sectors: range | None = None) -> None:
        """Do it; of a torn write only the sectors given."""
        if self.data is None:
            del content[self.offset :]
            return
        content.extend(bytes(max(0, self.offset + len(self.data) - len(content))) if sectors is None else b"")
        for at in range(0, len(self.data), SECTOR_BYTES):
            if sectors is None or at // SECTOR_BYTES in sectors:
                part = self.data[at : at + SECTOR_BYTES]
                content.extend(bytes(max(0, self.offset + at + len(part) - len(content))))
                content[self.offset + at : self.offset + at + len(part)] = part


@dataclass
class Journal:
    """Everything that was asked of the disk, in order."""

    syncs_work: bool = True
    steps: list[tuple[str, str, Operation | None]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    vfs: apsw.VFS | None = None  # registered for as long as the journal lives

    def note(self, kind: str, path: str, operation: Operation | None = None) -> None:
        if kind == "sync" and not self.syncs_work:
            return
        with self.lock:
            self.steps.append((kind, Path(path).name, operation))


class RecordingVFS(apsw.VFS):
    """The operating system's files, with a journal of what is done to them."""

    def __init__(self, name: str, journal: Journal) -> None:
        super().__init__(name, base="unix")
        self.name = name
        self.journal = journal

    def xOpen(self, name, flags):
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.journal.note("create", path)
        return RecordingFile(name, flags, path, self.journal)

    def xDelete(self, name, sync_folder):
        self.journal.note("delete", name)
        super().xDelete(name, sync_folder)


class RecordingFile(apsw.VFSFile):
    def __init__(self, name, flags, path: str, journal: Journal) -> None:
        super().__init__("unix", name, flags)
        self._path, self._journal = path, journal

    def xWrite(self, data, offset):
        self._journal.note("change", self._path, Operation(offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size):
        self._journal.note("change", self._path, Operation(size, None))
        super().xTruncate(size)

    def xSync(self, flags):
        super().xSync(flags)
        self._journal.note("sync", self._path)


class RecordedConnection:
    """An apsw connection with the face that the store expects."""

    def __init__(self, path: str, vfs: str, skip: str = "") -> None:
        self._real = apsw.Connection(path, vfs=vfs)
        self._skip = skip

    @property
    def in_transaction(self) -> bool:
        return self._real.in_transaction

    def execute(self, sql, *parameters):
        return _Cursor(self._real.execute("SELECT 1" if sql == self._skip else sql, *parameters))

    def executemany(self, sql, rows):
        return _Cursor(self._real.executemany(sql, rows))

    def close(self) -> None:
        self._real.close()


class _Cursor:
    def __init__(self, real) -> None:
        self._real = real

    def fetchone(self):
        return self._real.fetchone()

    def fetchmany(self, size):
        return [row for _, row in zip(range(size), self._real, strict=False)]

    def close(self) -> None:
        self._real.close()


@dataclass
class Recording:
    """A workload: the rows after each commit, and when each commit began and was acknowledged, in journal steps."""

    journal: Journal
    states: list[Rows]
    began: list[int]
    acknowledged: list[tuple[int, int, bool]]  # (step, state, durable)

    def check(self, step: int, path: Path) -> str | None:
        """What is wrong with an image of this step, if anything."""
        oldest = max(state for at, state, durable in self.acknowledged if durable and at <= step)
        newest = max(state for state, at in enumerate(self.began) if at <= step)
        try:
            rows = asyncio.run(_read_all(path))
        except HauloutError as e:
            return f"unreadable: {e}"
        if rows in self.states[oldest : newest + 1]:
            return None
        return "an acknowledged commit is lost" if rows in self.states else "half a commit"


def open_recorded(folder: Path, journal: Journal, skip: str = "") -> SqliteStore:
    """The store as it ships, with the journal under it; copies its log often."""
    vfs = RecordingVFS(f"recording-{id(journal)}", journal)
    journal.vfs = vfs
    return SqliteStore(folder / "rows.db", lambda path: RecordedConnection(path, vfs.name, skip), checkpoint_frames=24)


def record(folder: Path, *, syncs_work: bool = True, skip: str = "") -> Recording:
    """Run commits of all kinds, with two copies of the log into the file in between."""
    journal = Journal(syncs_work)
    recording = Recording(journal, [{}], [0], [(0, 0, True)])

    async def work() -> None:
        store = open_recorded(folder, journal, skip)
        rows: Rows = {}
        for n in range(COMMITS):
            writes: dict[bytes, bytes | None] = {b"chain": b"%d" % n, b"row/%d" % n: bytes([n]) * (40 + 700 * (n % 3))}
            writes |= {b"many/%d/%d" % (n % 4, k): b"%d" % n for k in range(6)}
            if n > 2:
                writes[b"row/%d" % (n - 3)] = None
            if n == 6:
                writes[b"large"] = bytes(range(256)) * 60
            durable = n % 3 != 1
            rows.update({k: v for k, v in writes.items() if v is not None})
            for key in [k for k, v in writes.items() if v is None]:
                rows.pop(key, None)
            recording.began.append(len(journal.steps))
            recording.states.append(dict(rows))
            await store.commit(writes, durable=durable)
            recording.acknowledged.append((len(journal.steps), n + 1, durable))
        await store.close()

    asyncio.run(work())
    return recording


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Operation] = field(default_factory=list)


def _nothing(file: _File, chance: random.Random) -> bytes:
    return bytes(file.durable)


def _everything(file: _File, chance: random.Random) -> bytes:
    content = bytearray(file.durable)
    for operation in file.pending:
        operation.apply(content)
    return bytes(content)


def _torn_beginning(file: _File, chance: random.Random) -> bytes:
    content = bytearray(file.durable)
    cut = chance.randrange(len(file.pending) + 1)
    for operation in file.pending[:cut]:
        operation.apply(content)
    for operation in file.pending[cut : cut + 1]:
        operation.apply(content, range(chance.randrange(1 + len(operation.data or b"") // SECTOR_BYTES)))
    return bytes(content)


def _any_part(file: _File, chance: random.Random) -> bytes:
    content = bytearray(file.durable)
    kept = [operation for operation in file.pending if chance.random() < 0.5]
    for operation in kept:
        whole = operation.data is None or chance.random() < 0.7
        operation.apply(content, None if whole else range(chance.randrange(1, 9)))
    return bytes(content)


IMAGES: list[Callable[[_File, random.Random], bytes]] = [_nothing, _everything, _torn_beginning, _any_part]


class Checkable(Protocol):
    """A journal, and what has to hold of a disk after any of its steps."""

    @property
    def journal(self) -> Journal: ...

    def check(self, step: int, path: Path) -> str | None: ...


def find_losses(recording: Checkable, folder: Path, *, every: int = 1) -> tuple[int, list[str]]:
    """Cut the power after every operation (or every n-th); returns how many images were opened and what was wrong."""
    files: dict[str, _File] = {}
    losses: list[str] = []
    images = 0
    for step, (kind, name, operation) in enumerate(recording.journal.steps, start=1):
        file = files.setdefault(name, _File())
        if kind == "delete":
            del files[name]  # names are taken as durable at once; contents never are
        elif kind == "sync":
            file.durable, file.pending = bytearray(_everything(file, random.Random())), []
        elif operation is not None:
            file.pending.append(operation)
        if step % every:
            continue
        for number, image in enumerate(IMAGES):
            chance = random.Random(1000 * step + number)
            target = folder / "image.db"
            for old in folder.glob("image.db*"):
                old.unlink()
            for other, content in files.items():
                (folder / other.replace("rows.db", "image.db", 1)).write_bytes(image(content, chance))
            images += 1
            problem = recording.check(step, target)
            if problem:
                losses.append(f"step {step} {image.__name__}: {problem}")
    return images, losses


async def _read_all(path: Path) -> Rows:
    store = SqliteStore(path)
    try:
        return dict(store.scan(b"", b"\xff"))
    finally:
        await store.close()


def test_no_power_cut_loses_an_acknowledged_commit_or_leaves_half_of_one(tmp_path):
    recording = record(_folder(tmp_path, "work"))
    images, losses = find_losses(recording, _folder(tmp_path, "images"))
    assert losses == []
    assert images > 600, "the workload reaches commits, deletions and copies of the log"
    kinds = [(kind, name) for kind, name, _ in recording.journal.steps]
    assert ("change", "rows.db") in kinds and ("sync", "rows.db") in kinds, "the log was copied into the file"


def test_the_check_finds_a_disk_whose_sync_does_nothing(tmp_path):
    recording = record(_folder(tmp_path, "work"), syncs_work=False)
    _, losses = find_losses(recording, _folder(tmp_path, "images"), every=5)
    assert any("lost" in loss for loss in losses)


def test_the_check_finds_a_store_that_skips_the_sync_of_its_commits(tmp_path):
    recording = record(_folder(tmp_path, "work"), skip="PRAGMA synchronous = FULL")
    _, losses = find_losses(recording, _folder(tmp_path, "images"), every=3)
    assert any("lost" in loss for loss in losses)


@dataclass
class LedgerRecording:
    """A sequencer's work: its blocks, and when each result was given."""

    journal: Journal
    genesis: Genesis
    headers: list[BlockHeader]
    answered: list[tuple[int, TransactionResult]]

    def check(self, step: int, path: Path) -> str | None:
        """The chain goes as far as the last answer, and the state has the root of its head."""
        if not any(at <= step for at, _ in self.answered):
            return None  # before the first answer there may be nothing at all
        try:
            return asyncio.run(self._inspect(step, path))
        except HauloutError as e:
            return f"unreadable: {e}"

    async def _inspect(self, step: int, path: Path) -> str | None:
        ledger = await LedgerStore.open(SqliteStore(path), self.genesis, KeyedHash())
        try:
            lost = [result for at, result in self.answered if at <= step and ledger.result(result.digest) != result]
            if lost:
                return f"{len(lost)} answered transactions are lost"
            if ledger.head not in self.headers or tree.read_root(ledger.view) != ledger.head.state_root:
                return f"the head {ledger.head.height} is no block of this chain, or its state is another's"
            ledger.applied(ledger.head.height)
            return None
        finally:
            await ledger.close()


def record_ledger(folder: Path, *, syncs_work: bool = True) -> LedgerRecording:
    """Order transfers one by one, each answered before the next."""
    network = build_development_network(
        node_addresses={f"node-{n}": (f"127.0.0.1:{n}",) for n in range(4)},
        n_shards=10,
        stake_frost=2_000_000_000_000,
        account_funds_frost={"alice": 1_000_000},
        genesis_time_ms=1_800_000_000_000,
        seed=bytes(32),
        scheme=KeyedHash(),
    )
    journal = Journal(syncs_work)
    recording = LedgerRecording(journal, network.genesis, [], [])

    async def work() -> None:
        sequencer = await Sequencer.open(
            store=open_recorded(folder, journal),
            genesis=network.genesis,
            scheme=KeyedHash(),
            clock=SystemClock(),
            workers=InlineWorkers(),
            engine="sqlite",
        )
        running = asyncio.ensure_future(sequencer.run())
        for n in range(8):
            signed = sign_transaction(
                network.account_secrets["alice"],
                network.genesis.chain_id,
                (Transfer(to=bytes([n]) * 32, amount_frost=1 + n),),
                nonce=bytes([n]) * 16,
                valid_until_ms=max(sequencer.head.time_ms, SystemClock().now_ms()) + 60_000,
            )
            result = await sequencer.submit(encode_transaction(signed), wait_ms=10_000)
            assert result is not None
            recording.answered.append((len(journal.steps), result))
        recording.headers += [sequencer.store.header(height) for height in range(sequencer.head.height + 1)]
        sequencer.stop()
        await running
        await sequencer.close()

    asyncio.run(work())
    return recording


def test_no_power_cut_loses_an_answered_transaction(tmp_path):
    recording = record_ledger(_folder(tmp_path, "work"))
    images, losses = find_losses(recording, _folder(tmp_path, "images"), every=2)
    assert losses == []
    assert images > 100


def test_the_check_finds_a_ledger_on_a_disk_whose_sync_does_nothing(tmp_path):
    recording = record_ledger(_folder(tmp_path, "work"), syncs_work=False)
    _, losses = find_losses(recording, _folder(tmp_path, "images"), every=9)
    assert any("lost" in loss for loss in losses)


def _folder(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder
