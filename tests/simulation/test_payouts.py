"""What the oracle says of stakes that are paid out twice, or before their time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from haulout.ledger.events import EpochDone, EpochStarted, Event, EventBody, StakeChanged
from haulout.sim.payouts import Payouts

STAKE, OWNER, NODE = (bytes([n]) * 32 for n in range(1, 4))
MADE = StakeChanged(STAKE, OWNER, NODE, 5, 1, None, 0)
ASKED = replace(MADE, withdraw_epoch=3)
PAID = replace(ASKED, principal_frost=0)


def at(epoch: int, body: EventBody) -> Event:
    return Event(0, 0, 0, 0, epoch, body)


def started(epoch: int) -> Event:
    return at(epoch, EpochStarted(epoch, (), 0, 0, 0))


def done(epoch: int) -> Event:
    return at(epoch, EpochDone(epoch, False))


@pytest.mark.parametrize(
    ("before", "paid_in", "is_right"),
    [
        ([at(1, ASKED), started(2)], 2, False),
        ([at(1, ASKED), started(3)], 3, False),
        ([at(1, ASKED), started(3), done(3)], 3, True),
        ([at(1, ASKED), started(4)], 4, True),
        ([at(1, MADE)], 1, True),  # early, before it counted
        ([at(4, ASKED), at(4, PAID)], 4, False),
    ],
)
def test_a_stake_is_paid_once_and_not_before_it_is_due(before: list[Event], paid_in: int, is_right: bool) -> None:
    payouts = Payouts()
    assert [payouts.note(event) for event in before] == [""] * len(before)
    assert (payouts.note(at(paid_in, PAID)) == "") is is_right
