"""What the ledger's process tells Prometheus."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from haulout.ledger.commands import COMMANDS
from haulout.ports import Finality, LedgerStatus
from node_grpc.ledger_metrics import LedgerMetrics

LAG = "haulout_ledger_attestation_lag_seconds"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry(auto_describe=True)


@pytest.fixture
def metrics(registry) -> LedgerMetrics:
    return LedgerMetrics(registry)


@pytest.fixture
async def status(ledger) -> LedgerStatus:
    return await ledger.status()


def at(status: LedgerStatus, *, height: int, time_ms: int, attested: int) -> LedgerStatus:
    head = replace(status.head, height=height, time_ms=time_ms)
    return replace(status, head=head, finality=Finality(height, height, attested))


def test_nothing_is_told_before_there_is_a_status(metrics, registry) -> None:
    assert registry.get_sample_value("haulout_ledger_height") is None
    assert registry.get_sample_value(f"{LAG}_count") == 0


async def test_the_sequencer_s_numbers_and_its_engine_are_told(metrics, registry, status) -> None:
    told = replace(status, engine="sqlite", refusals={"INSUFFICIENT_FUNDS": 2, "NOT_OWNER": 1})
    metrics.note(at(told, height=7, time_ms=5_000, attested=6), 5_000)
    assert registry.get_sample_value("haulout_ledger_engine_info", {"engine": "sqlite"}) == 1
    assert registry.get_sample_value("haulout_ledger_height") == 7
    assert registry.get_sample_value("haulout_ledger_attested_height") == 6
    assert registry.get_sample_value("haulout_ledger_blocks_total") == 0
    assert registry.get_sample_value("haulout_ledger_checkpoint_signed_shards") == 0
    assert registry.get_sample_value("haulout_ledger_refusals_total", {"code": "INSUFFICIENT_FUNDS"}) == 2
    assert registry.get_sample_value("haulout_ledger_refusals_total", {"code": "NOT_OWNER"}) == 1


async def test_commands_of_every_kind_are_told_before_the_first(metrics, registry, status) -> None:
    def count(kind: str, result: str) -> float | None:
        return registry.get_sample_value("haulout_ledger_commands_total", {"kind": kind, "result": result})

    metrics.note(status, 1_500)
    for cls in COMMANDS.variants.values():
        assert (count(cls.__name__, "executed"), count(cls.__name__, "refused")) == (0, 0)
    metrics.note(replace(status, commands={("RegisterBlob", True): 3, ("RegisterBlob", False): 1}), 2_000)
    assert (count("RegisterBlob", "executed"), count("RegisterBlob", "refused")) == (3, 1)
    assert count("CertifyBlob", "executed") == 0


async def test_a_change_of_epoch_has_a_duration_once_one_has_ended(metrics, registry, status) -> None:
    metrics.note(status, 1_500)
    assert registry.get_sample_value("haulout_epoch_change_duration_seconds") is None
    metrics.note(replace(status, epoch_change_ms=12_500), 2_000)
    assert registry.get_sample_value("haulout_epoch_change_duration_seconds") == 12.5


async def test_a_block_lags_until_it_or_a_later_one_is_signed(metrics, registry, status) -> None:
    def seen() -> tuple[float | None, float | None]:
        return registry.get_sample_value(f"{LAG}_count"), registry.get_sample_value(f"{LAG}_sum")

    metrics.note(at(status, height=1, time_ms=1_000, attested=0), 1_500)
    metrics.note(at(status, height=1, time_ms=1_000, attested=0), 2_000)
    metrics.note(at(status, height=9, time_ms=2_200, attested=0), 2_500)
    assert seen() == (0, 0)
    metrics.note(at(status, height=9, time_ms=2_200, attested=4), 3_000)
    assert seen() == (1, 2)  # of block 1, once
    metrics.note(at(status, height=10, time_ms=4_000, attested=10), 3_200)  # signed before it was seen waiting
    assert seen() == (2, 3)
    metrics.note(at(status, height=10, time_ms=4_000, attested=10), 90_000)
    assert seen() == (2, 3)


async def test_a_ledger_without_finality_has_no_lag(metrics, registry, status) -> None:
    metrics.note(replace(status, finality=None), 1_500)
    assert registry.get_sample_value(f"{LAG}_count") == 0
    assert registry.get_sample_value("haulout_ledger_attested_height") is None
