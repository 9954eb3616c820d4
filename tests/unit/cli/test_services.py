"""The services' commands: what the command line and the environment make of their settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from haulout.cli.main import main

COMMON = ["--genesis", "genesis.json", "--listen", "0.0.0.0:7", "--metrics", "0.0.0.0:8"]
COMMANDS = {
    "ledger": ["ledger", "--dir", "data", *COMMON],
    "gateway": ["gateway", "--dir", "data", *COMMON, "--ledger", "ledger:9", "--wallet", "wallet.json"],
}


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command up to the point where its service would begin; its settings."""
    found: list[Any] = []

    async def take(settings: Any) -> None:
        found.append(settings)

    monkeypatch.setattr("haulout.observability.logs.configure_logs", lambda **_: None)
    monkeypatch.setattr("node_grpc.ledger_main.run_ledger", take)
    monkeypatch.setattr("haulout.gateway.service.run_gateway", take)

    def run(role: str, *more: str) -> Any:
        with pytest.raises(SystemExit) as ended:
            main([*COMMANDS[role], *more])
        assert ended.value.code == 0
        return found.pop()

    return run


@pytest.mark.parametrize("role", COMMANDS)
def test_plaintext_stays_on_this_machine_unless_it_is_allowed(settings_of, monkeypatch, role) -> None:
    assert settings_of(role).allow_plaintext is False
    assert settings_of(role, "--allow-plaintext").allow_plaintext is True
    monkeypatch.setenv("HAULOUT_ALLOW_PLAINTEXT", "true")
    assert settings_of(role).allow_plaintext is True


def test_the_settings_of_a_ledger(settings_of) -> None:
    settings = settings_of("ledger", "--engine", "memory")
    assert (settings.folder, settings.genesis, settings.engine) == (Path("data"), Path("genesis.json"), "memory")
    assert (settings.listen, settings.metrics) == ("0.0.0.0:7", "0.0.0.0:8")


def test_the_settings_of_a_gateway(settings_of) -> None:
    settings = settings_of("gateway", "--cache", "0")
    assert (settings.data_dir, settings.genesis, settings.wallet) == (
        Path("data"),
        Path("genesis.json"),
        Path("wallet.json"),
    )
    assert (settings.ledger, settings.listen, settings.metrics) == ("ledger:9", "0.0.0.0:7", "0.0.0.0:8")
    assert settings.cache_bytes == 0
