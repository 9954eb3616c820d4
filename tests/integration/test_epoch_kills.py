"""`kill -9` of the ledger, a node that gains, one that loses and the driver, at each step of an epoch change.

The change completes, and the ledger's events say that each step was taken once. Epochs go by the clock, and each case
takes one of them: `make soak`. The driver lives in the supervisor; without it the nodes take the steps themselves.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from haulout.cli.session import Session, run_session
from haulout.embedded.epoch_watch import EpochStatus, fetch_epoch_status
from haulout.embedded.folder import read_json
from haulout.errors import Unavailable
from haulout.ledger.epoch_events import HandOversOpened, ShardsReceived, VotingEnded
from haulout.ledger.events import EpochDone, EpochStarted
from haulout.ledger.state import Phase

pytestmark = pytest.mark.timeout(300)

N_SHARDS = 20
EPOCH_S = 30
LEFT_MS_MIN = 8_000  # until voting ends, so that a stake still counts
N_BLOBS = 40
N_EPOCHS = 50  # that blobs live: longer than the story

ATTEMPTS = 5

LiveNetwork = Any  # of conftest.py, which cannot be imported


def blob_of(number: int) -> bytes:
    return hashlib.shake_128(number.to_bytes(8, "big")).digest(200_000 + number)


class Changing:
    """A network in which stake moves before each epoch, so that shards do."""

    def __init__(self, network: LiveNetwork) -> None:
        self.network = network
        self.n_changes = 0
        self.stored = {self.store(number): number for number in range(N_BLOBS)}

    def store(self, number: int) -> str:
        response = self.network.put(blob_of(number), epochs=N_EPOCHS)
        assert response.status_code == 200, response.text
        return str(response.json()["newlyCreated"]["blobObject"]["blobId"])

    def look(self) -> EpochStatus | None:
        """Where the epoch stands; None while the ledger is away."""

        async def work(session: Session) -> EpochStatus:
            return await fetch_epoch_status(session.network.view)

        try:
            return run_session(self.network.folder, work)
        except Unavailable:
            return None

    def wait(self, condition: Callable[[EpochStatus], bool]) -> EpochStatus:
        deadline = time.monotonic() + 150
        while True:
            status = self.look()
            if status is not None and condition(status):
                return status
            assert time.monotonic() < deadline, f"the epoch stands at {status}"
            time.sleep(0.05)

    def have_shards_move(self) -> tuple[int, str, str]:
        """Stake on one node; the epoch that is then, who will gain, and who will lose."""

        def has_time(status: EpochStatus) -> bool:
            left_ms = (status.due_ms or 0) - time.time_ns() // 1_000_000
            return status.phase is Phase.DONE and not status.n_moving and left_ms > LEFT_MS_MIN

        for _ in range(ATTEMPTS):
            epoch = self.wait(has_time).epoch
            members = self.network.ask("epoch", "plan")["members"]
            gainer = members[self.n_changes % len(members)]
            self.n_changes += 1
            self.network.ask("stake", "--node-id", gainer["nodeId"], "--amount", "3000WAL")
            planned = self.network.ask("epoch", "plan")["members"]
            losers = [member["name"] for member in planned if member["nextShards"] < member["shards"]]
            status = self.look()
            if losers and status is not None and (status.epoch, status.phase) == (epoch, Phase.DONE):
                return epoch, gainer["name"], losers[0]
        raise AssertionError("no stake came before the end of a vote")

    def kill(self, name: str) -> None:
        if name == "driver":
            record = read_json(self.network.folder / "supervisor.json")
            assert record is not None
            os.kill(record["pid"], signal.SIGKILL)
        else:
            self.network.kill(name)

    def steps_of(self, epoch: int) -> Counter[str]:
        """The steps that led into an epoch, as events; of shards that were reported more or less than once, each."""
        steps: Counter[str] = Counter()
        moves: set[tuple[bytes, int]] = set()
        received: Counter[tuple[bytes, int]] = Counter()

        async def work(session: Session) -> None:
            async with asyncio.timeout(60):
                async for event in session.ledger.events(0):
                    body = event.body
                    if isinstance(body, EpochStarted | EpochDone) and body.epoch == epoch:
                        steps[type(body).__name__] += 1
                    elif isinstance(body, HandOversOpened) and body.epoch == epoch:
                        steps["HandOversOpened"] += 1
                        moves.update((move.to_node, move.shard_index) for move in body.moves)
                    elif isinstance(body, ShardsReceived):
                        received.update((body.node_id, shard) for shard in body.shards if body.epoch >= epoch)
                    elif isinstance(body, VotingEnded):
                        steps["VotingEnded"] += body.next_epoch == epoch
                        if body.next_epoch > epoch and moves <= received.keys():
                            return  # nothing of it can follow

        run_session(self.network.folder, work)
        steps.update(f"{count} reports of shard {shard}" for (_, shard), count in received.items() if count != 1)
        return steps


@pytest.fixture(scope="module")
def changing(start_network: Callable[..., LiveNetwork]) -> Changing:
    return Changing(start_network("--nodes", "5", f"--shards={N_SHARDS}", "--epoch-duration", f"{EPOCH_S}s"))


@pytest.mark.parametrize("victim", ["ledger", "gainer", "giver", "driver"])
@pytest.mark.parametrize("step", ["EndVoting", "ChangeEpoch", "ReportSyncDone"])
def test_a_change_completes_with_each_step_taken_once(changing: Changing, step: str, victim: str) -> None:
    epoch, gainer, giver = changing.have_shards_move()
    if step == "EndVoting":
        changing.wait(lambda status: status.phase is Phase.VOTED or status.epoch > epoch)
    elif step == "ChangeEpoch":
        changing.wait(lambda status: status.epoch > epoch)
    else:
        changing.wait(lambda status: status.epoch > epoch and status.phase is not Phase.SYNC)
    changing.kill({"gainer": gainer, "giver": giver}.get(victim, victim))

    changing.wait(lambda status: status.epoch > epoch and status.phase is not Phase.SYNC and not status.n_moving)
    if victim == "driver":
        changing.network.run("up", "--detach")
    changing.wait(lambda status: status.phase is Phase.VOTED or status.epoch > epoch + 1)
    assert changing.steps_of(epoch + 1) == {"VotingEnded": 1, "EpochStarted": 1, "HandOversOpened": 1, "EpochDone": 1}


def test_everything_is_still_there(changing: Changing) -> None:
    for blob_id, number in changing.stored.items():
        response = changing.network.read(blob_id)
        assert response.status_code == 200, response.text
        assert response.content == blob_of(number)
