"""Which height the nodes are asked to sign, and for how long."""

from __future__ import annotations


async def test_a_height_that_finds_no_quorum_gives_way_and_the_next_one_gets_longer(ledger, town) -> None:
    async def wanted() -> int:
        return (await ledger.attestation()).wanted_height

    for height in (1, 2, 3):
        await ledger.submit(town.transfer(), wait_ms=5_000)
        assert ledger.head.height == height
        assert await wanted() == 1, "it is kept to"
    town.clock.time_ms += 3_000
    assert await wanted() == 3
    await ledger.submit(town.transfer(), wait_ms=5_000)
    town.clock.time_ms += 3_000
    assert await wanted() == 3
    town.clock.time_ms += 3_000
    assert await wanted() == 4


async def test_a_height_that_was_given_up_is_taken_up_again_when_there_is_nothing_newer(ledger, town) -> None:
    await ledger.submit(town.transfer(), wait_ms=5_000)
    assert (await ledger.attestation()).wanted_height == 1
    town.clock.time_ms += 3_000
    assert (await ledger.attestation()).wanted_height == 1
