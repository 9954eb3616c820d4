"""`haulout token`: made, listed, ended; the service knows what the command wrote."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from graphql_api.records.database import Records
from graphql_api.records.tokens import digest_of, find_token
from haulout.cli.main import main
from haulout.crypto.keyed_hash import KeyedHash
from haulout.ledger.genesis import Genesis, build_development_network
from haulout.world.workers import InlineWorkers


@pytest.fixture
def genesis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Genesis:
    network = build_development_network(
        node_addresses={f"node-{i}": (f"127.0.0.1:{i + 1}",) for i in range(4)},
        n_shards=10,
        stake_frost=2_000_000_000_000,
        account_funds_frost={},
        genesis_time_ms=1_800_000_000_000,
        seed=bytes(32),
        scheme=KeyedHash(),
    )
    (tmp_path / "genesis.json").write_text(network.genesis.to_json())
    monkeypatch.setenv("HAULOUT_GENESIS", str(tmp_path / "genesis.json"))
    monkeypatch.setenv("HAULOUT_DATA", str(tmp_path / "graphql"))
    return network.genesis


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["token", *arguments])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out + printed.err


async def test_a_token_is_made_listed_and_revoked(
    genesis: Genesis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = await asyncio.to_thread(
        run, capsys, "create", "ci", "--scope", "STAKE", "--scope", "WRITE_BLOB", "--expires-in", "1h", "--json"
    )
    assert made[0] == 0, made
    document = json.loads(made[1])
    assert document["scopes"] == ["READ", "STAKE", "WRITE_BLOB"]
    assert document["expiresMs"] - document["createdMs"] == 3_600_000
    records = Records(f"sqlite:///{tmp_path / 'graphql' / 'records.sqlite'}", InlineWorkers())
    await records.open(chain_id=genesis.chain_id)
    token = await records.read(find_token, digest_of(document["secret"]))
    assert token is not None
    assert token.scopes == ("STAKE", "WRITE_BLOB")

    assert "ci" in (await asyncio.to_thread(run, capsys, "list"))[1]
    assert document["secret"] not in (await asyncio.to_thread(run, capsys, "list", "--json"))[1]
    assert (await asyncio.to_thread(run, capsys, "revoke", str(token.number)))[0] == 0
    revoked = await records.read(find_token, digest_of(document["secret"]))
    assert revoked is not None
    assert revoked.revoked_ms is not None
    records.close()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "x", "--scope", "EVERYTHING"), "is no scope"),
        (("create", ""), "printable"),
        (("create", "x", "--expires-in", "9999d"), "is not between"),
        (("revoke", "17"), "no token 17"),
    ],
)
def test_what_is_wrong_is_told(
    genesis: Genesis, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    code, text = run(capsys, *arguments)
    assert (code, told in text) == (2, True), text
