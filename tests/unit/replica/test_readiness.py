"""When a process that answers from a replica says that it is ready."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from haulout.errors import Unreachable
from haulout.replica.readiness import Readiness


def replica_at(height: int, **state: Any) -> Any:
    nothing = {"heard_height": None, "problem": None, "diverged": None, "upgrade_required": None}
    return SimpleNamespace(head=SimpleNamespace(height=height), **{**nothing, **state})


def test_only_after_the_ledger_said_where_it_stands_and_that_was_reached() -> None:
    replica = replica_at(0)
    readiness = Readiness(replica)
    assert readiness.reasons() == ("CATCHING_UP: the ledger has not said yet where it stands",)
    replica.heard_height = 9
    assert readiness.reasons() == ("CATCHING_UP: block 0 of 9",)
    replica.head.height = 9
    assert not readiness.reasons()


def test_a_ledger_that_goes_away_later_takes_no_gateway_out_of_service() -> None:
    replica = replica_at(9, heard_height=9)
    readiness = Readiness(replica)
    assert not readiness.reasons()
    replica.heard_height, replica.problem = 12, Unreachable(peer="ledger", problem="refused")
    assert not readiness.reasons()


def test_a_ledger_that_was_never_reached_does() -> None:
    readiness = Readiness(replica_at(9, problem=Unreachable(peer="ledger", problem="refused")))
    assert readiness.reasons()[0].startswith("LEDGER_UNREACHABLE: ")
