"""The epoch controller in a process of its own, beside an operator that leaves epochs to it."""

from __future__ import annotations

from haulout_operator.ledger import read_facts
from tests.unit.haulout_operator.fake_kube import NAMESPACE

HALF_EPOCH_MS = 30 * 60_000
SLACK_MS = 60_000


async def test_epochs_go_on_beside_an_operator_that_leaves_them_alone(town) -> None:
    town.operator = town.new_operator(seed=3, drives_epochs=False)
    watch = town.new_epoch_watch(seed=4)
    town.found(epoch={"duration": "1h"})
    await watch.look()  # a network that was not founded yet is waited for
    await town.play()
    await town.epoch_clock.pass_ms(HALF_EPOCH_MS + SLACK_MS)
    await town.epoch_clock.pass_ms(HALF_EPOCH_MS + SLACK_MS)
    assert (await read_facts(town, None)).epoch == 1
    await watch.look()
    for _ in range(2):
        await town.epoch_clock.pass_ms(HALF_EPOCH_MS + SLACK_MS)
    assert (await read_facts(town, None)).epoch == 2
    await town.play()
    assert "main-2" in town.kube.names("EpochTransition")
    await watch._epochs.close()


async def test_epochs_that_people_change_are_left_to_them(town) -> None:
    watch = town.new_epoch_watch(seed=4)
    town.found()
    await town.play()
    await watch.look()
    assert not watch._epochs.drives("main")


async def test_a_network_that_is_gone_is_driven_no_longer_and_one_that_cannot_be_read_harms_no_other(town) -> None:
    watch = town.new_epoch_watch(seed=4)
    town.kube.add("StorageNetwork", "broken", {"shards": "many"})
    town.found(epoch={"duration": "1h"})
    await town.play()
    await watch.look()
    assert watch._epochs.drives("main")
    assert not watch._epochs.drives("broken")
    await town.kube.delete("", "StorageNetwork", NAMESPACE, "main")
    await town.play()
    await watch.look()
    assert not watch._epochs.drives("main")
