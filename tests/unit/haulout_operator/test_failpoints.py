"""An operator that ends at a named point of an epoch change: the next one finishes; without one the nodes go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from haulout.account.wallet import Wallet
from haulout.driver.epoch_driver import EpochDriver
from haulout.errors import InvalidField
from haulout.ledger import keys
from haulout.primitives import hex_id_text
from haulout_operator.failpoints import Armed, Failpoint, parse_armed
from haulout_operator.ledger import Rows, read_facts, read_rows
from tests.unit.haulout_operator.fake_kube import NAMESPACE, OperatorKilled

ROOT = Path(__file__).resolve().parents[3]
HALF_EPOCH_MS = 30 * 60_000
GRACE_MS = 60_000
EPOCHS = {"duration": "1h", "driverGrace": "60s"}


async def settle(town) -> None:
    """Rounds until nothing is left to do or the operator is killed."""
    if not town.is_killed:
        try:
            await town.play(limit=30)
        except OperatorKilled:
            assert town.is_killed


async def found(town, *points: Failpoint) -> None:
    """Four nodes, and from now on an operator that ends at each of some points."""
    town.found(epoch=EPOCHS)
    await settle(town)
    facts = await read_facts(town, None)
    await town.restart(Armed(frozenset({*points}), hex_id_text(facts.chain_id)))
    await settle(town)


async def pass_an_epoch(town, *, next_time) -> None:
    """Vote, change, sync; `next_time` is called whenever time has passed."""
    before = (await read_facts(town, None)).epoch
    for _ in range(2):
        await town.epoch_clock.pass_ms(HALF_EPOCH_MS + 2 * GRACE_MS)
        await next_time()
    facts = await read_facts(town, None)
    assert (facts.epoch, facts.phase) == (before + 1, "Sync")
    await town.sync()
    await next_time()


@pytest.mark.parametrize("point", Failpoint)
async def test_the_next_operator_finishes_what_one_began_that_ended_at(town, point: Failpoint) -> None:
    await found(town, point)
    victim = town.nodes()[0]
    await town.kube.delete("", "StorageNode", NAMESPACE, victim)
    deaths = 0

    async def bring_back() -> None:
        nonlocal deaths
        await settle(town)
        if town.is_killed:
            deaths += 1
            await town.restart()
            await settle(town)
            await town.epoch_clock.pass_ms(1)  # its driver has just begun, and something is due
            await settle(town)

    await bring_back()
    await pass_an_epoch(town, next_time=bring_back)
    assert deaths == 1
    assert victim not in town.nodes()
    assert (await read_facts(town, None)).epoch == 2  # everything happened in the one change that it was due in
    await town.check_whole(4)


async def test_operators_that_each_end_at_the_next_of_several_points_finish_together(town) -> None:
    points = (Failpoint.LEAVE_REQUESTED, Failpoint.EPOCH_CHANGED, Failpoint.VOLUME_DELETED)
    await found(town, *points)
    armed, victim = town.armed, town.nodes()[0]
    await town.kube.delete("", "StorageNode", NAMESPACE, victim)

    async def restart_as_it_was() -> None:
        await settle(town)
        while town.is_killed:
            await town.restart(armed)
            await settle(town)
            await town.epoch_clock.pass_ms(1)  # its driver has just begun, and something is due
            await settle(town)

    await restart_as_it_was()
    await pass_an_epoch(town, next_time=restart_as_it_was)
    assert town.ends == list(points)
    assert victim not in town.nodes()
    await town.check_whole(4)


@pytest.mark.parametrize("point", Failpoint)
async def test_the_nodes_go_on_without_an_operator_that_ended_at(town, point: Failpoint) -> None:
    await found(town, point)
    victim = town.nodes()[0]
    await town.kube.delete("", "StorageNode", NAMESPACE, victim)

    async def fall_back() -> None:
        await settle(town)
        for _ in range(2):
            await take_what_is_due(town)
        await settle(town)

    await settle(town)
    for _ in range(2):  # the second one without an operator, wherever it ended
        await pass_an_epoch(town, next_time=fall_back)
    assert town.is_killed
    await town.restart()

    async def go_on() -> None:
        await settle(town)

    await settle(town)
    if victim in town.nodes():  # it could not ask to leave before
        await pass_an_epoch(town, next_time=go_on)
    assert victim not in town.nodes()
    await town.check_whole(4)


async def take_what_is_due(town) -> None:
    """As one of the nodes does, later than the operator would have."""
    name = town.nodes()[-1]
    facts = await read_facts(town, None)
    secret = bytes.fromhex(town.secret(f"{name}-keys", "keys.json")["capabilitySecret"])
    wallet = Wallet(secret, chain_id=facts.chain_id, ledger=town, clock=town.clock, rng=town._rng)

    async def state() -> Rows:
        return Rows(await read_rows(town, [keys.PARAMS, keys.SYSTEM, keys.STAKING]))

    driver = EpochDriver(state, wallet, clock=town.clock, rng=town._rng, grace_ms=GRACE_MS)
    await driver.run_once()


async def test_an_operator_of_another_network_passes_by(town) -> None:
    town.found(epoch=EPOCHS)
    town.armed = Armed(frozenset({Failpoint.VOTING_DUE}), "0x" + "00" * 32)
    town.operator = town.new_operator(seed=2)
    await settle(town)
    await town.epoch_clock.pass_ms(HALF_EPOCH_MS)
    assert (await read_facts(town, None)).phase == "Voted"
    assert not town.is_killed


async def test_a_step_asks_for_a_round_at_once(town) -> None:
    town.found(epoch=EPOCHS)
    await settle(town)
    asked = town.operator._wakes["main"] = asyncio.Event()
    await town.epoch_clock.pass_ms(HALF_EPOCH_MS)
    assert asked.is_set()
    del town.operator._wakes["main"]


def test_a_point_is_armed_for_one_network_by_both_names() -> None:
    assert parse_armed("") is None
    assert parse_armed("let-go@0x12") == Armed(frozenset({Failpoint.LET_GO}), "0x12")
    assert parse_armed("leave-due,let-go@0x12") == Armed(frozenset({Failpoint.LEAVE_DUE, Failpoint.LET_GO}), "0x12")
    for text in ("let-go", "let-go@", "somewhere@0x12", "let-go,somewhere@0x12", "let-go,@0x12", "1"):
        with pytest.raises(InvalidField, match="HAULOUT_FAILPOINT"):
            parse_armed(text)


def test_all_twelve_are_explained_and_the_chart_arms_none() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert len(Failpoint) == 12
    assert [point for point in Failpoint if f"`{point}`" not in text] == []
    chart = [path.read_text() for path in (ROOT / "helm" / "haulout").rglob("*") if path.is_file()]
    assert not any("FAILPOINT" in one.upper() for one in chart)
