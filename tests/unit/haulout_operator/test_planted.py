"""Mistakes planted on purpose: each must make the test that guards against it fail."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from haulout_operator.actions import DropFinalizer
from haulout_operator.observed import Observed
from haulout_operator.planning import budget, leaving, network, node, pool
from haulout_operator.planning.budget import FaultBudget
from haulout_operator.planning.leaving import Leaving
from haulout_operator.statuses import network as network_status
from tests.unit.haulout_operator import test_leaving, test_rounds

Scenario = Callable[[Any], Awaitable[None]]


def proof_read_from_status(patch: pytest.MonkeyPatch) -> None:
    plan = leaving.plan_leaving

    def trusting(observed: Any, sn: Any) -> Leaving:
        said = [one["reason"] for one in sn.status.get("conditions", ())]
        return Leaving("Proven", "", (DropFinalizer(sn.subject, sn.uid),)) if "Proven" in said else plan(observed, sn)

    patch.setattr(node, "plan_leaving", trusting)


def only_the_ledgers_side(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leaving, "_missing_word", lambda *_: None)


def only_the_nodes_side(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leaving, "_what_holds", lambda known: None)
    patch.setattr(leaving, "_missing_sample", lambda *_: None)


def no_blob_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leaving, "_missing_sample", lambda *_: None)


def unattested_state(patch: pytest.MonkeyPatch) -> None:
    def without_attestation(observed: Any, ledger: Any, sn: Any, known: Any) -> Leaving | None:
        return leaving._missing_word(observed, ledger, sn, known) or leaving._missing_sample(observed, sn)

    patch.setattr(leaving, "_missing_proof", without_attestation)


def never_counted_on_the_ledgers_word_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leaving, "_what_speaks_against", lambda *_: None)


def volumes_that_prove_no_genesis(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Observed, "volumes_of_founded", lambda self: [])


def budget_that_forgets_recovery(patch: pytest.MonkeyPatch) -> None:
    def forgetful(observed: Any, ledger: Any) -> FaultBudget:
        down = sum(len(one.shards) for name, one in ledger.nodes.items() if not budget.is_up(observed, name))
        return FaultBudget(limit=33, used=down)

    for module in (budget, node, pool, network_status):
        patch.setattr(module, "compute_budget", forgetful)


def two_creates_for_one_serial(patch: pytest.MonkeyPatch) -> None:
    count = itertools.count()
    patch.setattr(pool, "node_name", lambda name, uid, serial: f"{name}-{serial}-{next(count)}")


def evictions_without_a_budget(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(network, "min_available_pods", lambda *_: 0)


def drops_whoever_is_dead(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pool, "down_ms", lambda *_: 1 << 60)


PLANTED: list[tuple[Callable[[pytest.MonkeyPatch], None], Scenario]] = [
    (proof_read_from_status, test_leaving.test_what_a_status_says_proves_nothing),
    (only_the_ledgers_side, test_leaving.test_nobody_goes_who_says_that_it_still_holds_something),
    (only_the_nodes_side, test_leaving.test_the_nodes_own_word_alone_lets_nobody_go),
    (no_blob_read, test_leaving.test_nobody_goes_without_whom_a_blob_cannot_be_read),
    (unattested_state, test_leaving.test_nobody_goes_on_a_state_that_is_not_attested),
    (
        never_counted_on_the_ledgers_word_alone,
        test_leaving.test_a_node_that_the_ledger_never_counted_on_goes_only_on_an_attested_state,
    ),
    (
        volumes_that_prove_no_genesis,
        test_rounds.test_without_its_genesis_nothing_of_a_network_is_let_go_or_made_anew,
    ),
    (budget_that_forgets_recovery, test_rounds.test_shards_in_recovery_have_spent_the_budget_beyond_their_epoch),
    (two_creates_for_one_serial, test_rounds.test_two_operators_make_no_more_nodes_than_were_asked_for),
    (evictions_without_a_budget, test_rounds.test_evictions_are_allowed_as_far_as_the_budget_goes),
    (drops_whoever_is_dead, test_leaving.test_a_dead_member_is_replaced_after_its_time_and_not_before),
]


@pytest.mark.parametrize(("plant", "scenario"), PLANTED, ids=lambda one: one.__name__)
async def test_a_planted_mistake_is_found(
    town: Any, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], scenario: Scenario
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, KeyError)):  # it asks for an object that should be there
        await scenario(town)
