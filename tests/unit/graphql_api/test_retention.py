"""Retention: what a policy asks for, who does it, and what becomes of it when something fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from graphql_api.records import retentions as kept
from graphql_api.records.database import Records
from graphql_api.records.retentions import Retention
from graphql_api.retention_keeper import (
    CLAIM_MS,
    Extend,
    Forget,
    PutOff,
    RetentionKeeper,
    plan_renewal,
)
from haulout.chain.block import TransactionResult
from haulout.errors import Rejected, Unreachable
from haulout.ledger.commands import Command, Existing, ExtendBlob, ExtendSharedBlob
from haulout.ledger.state import NOBODY
from haulout.world.rng import SystemRng
from haulout.world.workers import ThreadWorkers

OWNER = bytes(31) + b"\x01"
OBJECT = bytes(31) + b"\x02"
SET = "mutation ($i: RetentionInput!) { setRetention(input: $i) { userErrors { code } } }"
SHOW = """query ($o: ObjectID!) { blobObject(objectId: $o) {
  retention { keepEpochs nextActionEpoch lastTriedEpoch error { code message retry } } } }"""


def row(**changes: Any) -> dict[str, Any]:
    return {
        "deleted_height": None,
        "end_epoch": 6,
        "owner": OWNER,
        "blob_id": bytes(32),
        **{"shared_funds_frost": None, **changes},
    }


def plan(epoch: int, *, keep: int = 5, below: int = 2, is_invalid: bool = False, **changes: Any) -> Any:
    policy = Retention(OBJECT, keep, below, next_epoch=epoch)
    return plan_renewal(policy, row(**changes), epoch=epoch, payer=OWNER, is_invalid=is_invalid)


def test_a_policy_acts_in_the_first_epoch_in_which_too_few_are_left() -> None:
    assert plan(4) == PutOff(5)  # epochs 4 and 5 are paid for
    assert plan(5) == Extend(4, 10)  # 5 to 9 afterwards
    assert plan(5, keep=2) == Extend(1, 7)
    assert plan(3, below=4) == Extend(2, 8)


def test_a_shared_blob_is_kept_from_its_own_funds() -> None:
    found = plan(5, owner=NOBODY, shared_funds_frost=7)
    assert found == Extend(4, 10, is_shared=True)
    assert found.command(OBJECT) == ExtendSharedBlob(Existing(OBJECT), 4)


def test_what_cannot_be_kept_is_not_tried_again() -> None:
    assert plan(5, deleted_height=9) == Forget()
    for changes, code in (
        ({"epoch": 6}, "RETENTION_TOO_LATE"),
        ({"epoch": 5, "is_invalid": True}, "BLOB_IS_INVALID"),
        ({"epoch": 5, "owner": bytes(32)}, "NOT_OWNER"),
    ):
        found = plan(**changes)
        assert (found.epoch, found.error.code) == (None, code)


@given(st.integers(2, 53), st.data())
def test_a_blob_under_a_policy_never_ends(keep: int, data: st.DataObject) -> None:
    below = data.draw(st.integers(2, keep))
    epoch, end = 1, 1 + data.draw(st.integers(1, 53))
    for _ in range(120):
        found = plan(epoch, keep=keep, below=below, end_epoch=end)
        if isinstance(found, Extend):
            assert end - epoch < below
            assert found.n_epochs >= 1
            end += found.n_epochs
            assert end == found.end_epoch == epoch + keep
            found = plan(epoch, keep=keep, below=below, end_epoch=end)
        # Nothing has to be looked at before the epoch that the policy names, and that comes in time.
        assert isinstance(found, PutOff)
        assert found.error is None
        assert found.epoch is not None
        assert epoch < found.epoch < end
        epoch = found.epoch


class HandClock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.time_ms = 1_000

    def now_ms(self) -> int:
        return self.time_ms

    def monotonic_us(self) -> int:
        return self.time_ms * 1_000

    async def sleep_ms(self, duration_ms: int) -> None:
        await asyncio.sleep(0)


class Payer:
    """An account whose transactions end as a test says."""

    def __init__(self, address: bytes) -> None:
        self.address = address
        self.extended: list[tuple[bytes, int]] = []
        self.error: Exception | None = None

    async def execute(self, commands: Sequence[Command]) -> TransactionResult:
        (command,) = commands
        assert isinstance(command, ExtendBlob)
        self.extended.append((command.blob.object_id, command.n_epochs))  # type: ignore[union-attr]
        await asyncio.sleep(0)  # others have their turn
        if self.error is not None:
            raise self.error
        return TransactionResult(bytes(32), 7, 0, "", "", ())


@pytest.fixture(params=["sqlite", "postgres"])
def records_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the policies are; the read model is in SQLite."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres").new_database()
        return url
    return f"sqlite:///{tmp_path / 'kept.sqlite'}"


class Kept:
    """Policies over a history in epoch 1, and keepers over them."""

    def __init__(self, net: Any, records: Records, ids: Any) -> None:
        self.net, self.records, self.ids = net, records, ids
        self.clock = HandClock()
        self.payer = Payer(ids("account", 1))

    def keeper(self, registry: CollectorRegistry | None = None) -> RetentionKeeper:
        return RetentionKeeper(
            self.records,
            self.net.read_model,
            self.net.follower,
            self.payer,
            clock=self.clock,
            rng=SystemRng(),
            registry=registry or CollectorRegistry(),
        )

    async def policy(self, number: int = 1) -> Retention:
        name = self.ids("object", number)
        return (await self.records.read(kept.find, [name]))[name]


@pytest.fixture
async def under(net: Any, ids: Any, records_url: str) -> AsyncIterator[Kept]:
    workers = ThreadWorkers(2)
    records = Records(records_url, workers)
    await records.open(chain_id=bytes(32))
    # Both objects are paid for up to epoch 6; object 3 was deleted.
    for number in (1, 2, 3):
        await records.write(kept.put, ids("object", number), 8, 6, 1)
    yield Kept(net, records, ids)
    records.close()
    workers.close()


async def test_of_several_processes_exactly_one_renews(under: Kept) -> None:
    done = await asyncio.gather(*(under.keeper().round(under.payer) for _ in range(3)))
    assert any(done)  # who came first has nothing left; others may have seen it at work
    assert sorted(under.payer.extended) == [(under.ids("object", 1), 3), (under.ids("object", 2), 3)]
    policy = await under.policy()
    assert (policy.next_epoch, policy.tried_epoch, policy.problem, policy.renewed_height) == (4, 1, None, 7)
    assert under.ids("object", 3) not in await under.records.read(kept.find, [under.ids("object", 3)])
    assert await under.keeper().round(under.payer)
    assert len(under.payer.extended) == 2


async def test_what_the_ledger_refuses_is_shown_counted_and_tried_again_an_epoch_later(under: Kept) -> None:
    registry = CollectorRegistry()
    under.payer.error = Rejected("no")
    keeper = under.keeper(registry)
    assert await keeper.round(under.payer)
    assert await keeper.round(under.payer)
    assert len(under.payer.extended) == 2  # once each
    policy = await under.policy()
    assert (policy.next_epoch, policy.tried_epoch, policy.problem) == (2, 1, ("REJECTED", "REJECTED"))
    name = "haulout_graphql_retention_renewals_total"
    assert registry.get_sample_value(name, {"outcome": "refused"}) == 2
    assert registry.get_sample_value(name, {"outcome": "extended"}) == 0


async def test_what_nobody_answered_is_left_until_it_can_take_effect_no_more(under: Kept) -> None:
    under.payer.error = Unreachable(peer="the ledger", problem="it is down")
    assert not await under.keeper().round(under.payer)
    policy = await under.policy()
    assert (policy.next_epoch, policy.problem and policy.problem[0]) == (1, "UNREACHABLE")
    under.payer.error = None
    under.clock.time_ms += CLAIM_MS - 1
    assert not await under.keeper().round(under.payer)
    assert len(under.payer.extended) == 2
    under.clock.time_ms += 1
    assert await under.keeper().round(under.payer)
    assert len(under.payer.extended) == 4
    assert (await under.policy()).problem is None


async def test_who_has_not_seen_the_last_extension_does_not_extend_again(under: Kept) -> None:
    assert await under.keeper().round(under.payer)
    name = under.ids("object", 1)
    await under.records.write(kept.put, name, 9, 6, 1)  # set again, by who knows the old end only
    assert not await under.keeper().round(under.payer)  # the read model is at block 5, the extension in block 7
    assert len(under.payer.extended) == 2
    assert (await under.policy()).renewed_height == 7


async def test_each_renewal_is_in_the_audit_trail(net: Any, ids: Any) -> None:
    here = Kept(net, net.services.records, ids)
    await here.records.write(kept.put, ids("object", 1), 8, 6, 1)
    assert await here.keeper().round(here.payer)
    query = "{ auditEvents { nodes { mutation code tokenId endedAt } } }"
    answer = (await net.post(query, headers=await net.token("ADMIN"))).json()
    (event,) = answer["data"]["auditEvents"]["nodes"]
    assert (event["mutation"], event["code"], event["tokenId"]) == ("renewBlob", "OK", None)
    assert event["endedAt"] is not None


async def test_policies_of_many_objects_are_read_at_once(net: Any, ids: Any) -> None:
    records = net.services.records
    await records.write(kept.put, ids("object", 1), 8, 6, 1)
    reads = 0
    read = records.read

    async def counted(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read(*arguments)

    records.read = counted
    shown = await net.ask("{ blobObjects { nodes { retention { keepEpochs } } } }")
    assert [node["retention"] for node in shown["blobObjects"]["nodes"]] == [{"keepEpochs": 8}, None]
    assert reads == 1


async def test_without_an_account_nothing_is_kept(net: Any, ids: Any) -> None:
    name = "0x" + ids("object", 1).hex()
    headers = await net.token("WRITE_BLOB")
    answer = (await net.post(SET, headers=headers, i={"objectId": name, "keepEpochs": 4})).json()
    assert answer["data"]["setRetention"]["userErrors"] == [{"code": "NO_ACCOUNT"}]
    assert (await net.ask(SHOW, o=name))["blobObject"]["retention"] is None
