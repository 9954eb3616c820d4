"""`haulout protocol` over real nodes in memory, in a network of the rules before the present ones."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulout.account.wallet import Wallet
from haulout.cli.main import main
from haulout.cli.session import ClientDocument, Session
from haulout.client.network import Network
from haulout.client.view import LedgerView, ProvenSource
from haulout.embedded.folder import FOLDER_FORMAT, FolderDamaged, NetworkFolder, NetworkShape, write_json
from haulout.embedded.founding import write_keys
from haulout.ledger.apply import PROTOCOL_VERSION
from haulout.ledger.commands import AdvanceEpoch
from haulout.primitives import hex_id_text

_spec = importlib.util.spec_from_file_location("node_world", Path(__file__).parents[1] / "node" / "conftest.py")
assert _spec is not None and _spec.loader is not None
node_world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(node_world)

BEFORE, AFTER = PROTOCOL_VERSION - 1, PROTOCOL_VERSION


class Shell:
    """Runs commands one after the other against the same network, whose keys are in a folder."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.loop = asyncio.new_event_loop()
        self.world = node_world.World(protocol_version=BEFORE)
        self.loop.run_until_complete(self.world.start())
        self.folder = NetworkFolder(root)
        town, chain_id = self.world.network, self.world.network.genesis.chain_id
        self.folder.save_shape(NetworkShape(FOLDER_FORMAT, hex_id_text(chain_id), 5, 10, 40_000))
        write_keys(self.folder, town)
        world = self.world
        network = Network(
            view=LedgerView(ProvenSource(world.sequencer, chain_id)),
            transport=world.transport,
            scheme=world.scheme,
            clock=world.clock,
            rng=world.rng,
            workers=world.workers,
        )
        parts = {"chain_id": chain_id, "ledger": world.sequencer, "clock": world.clock, "rng": world.rng}
        wallet = Wallet(town.account_secrets["client"], **parts)
        document = ClientDocument("", str(self.folder.wallet_file), "", "", "", "")
        self.session = Session(self.folder, document, network, wallet, world.sequencer)

    def close(self) -> None:
        self.loop.run_until_complete(self.world.stop())
        self.loop.close()

    def run_session(self, directory: Path | None, work: Any) -> Any:
        return self.loop.run_until_complete(work(self.session))

    def next_epoch(self) -> None:
        self.loop.run_until_complete(self.world.submit(AdvanceEpoch(self.world.epoch)))

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        with pytest.raises(SystemExit) as ended:
            main(["protocol", *arguments])
        out, err = self.capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    def json(self, *arguments: str, code: int = 0) -> Any:
        found, out, _ = self(*arguments, "--json")
        assert found == code, out
        return json.loads(out)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    shell = Shell(tmp_path, capsys)
    monkeypatch.setattr("haulout.cli.session.run_session", shell.run_session)
    yield shell
    shell.close()


def test_the_next_version_is_activated_and_shown(shell: Shell) -> None:
    _, text, _ = shell("show")
    assert f"protocol version {BEFORE} in epoch 1; known here: {AFTER}, to the ledger: {AFTER}" in text
    assert f"node-4          2 shards  knows {AFTER}\n" in text
    assert f"version {AFTER} can begin with the next epoch: haulout protocol activate" in text

    chosen = {"protocolVersion": AFTER, "fromEpoch": 2}
    assert shell.json("activate") == {**chosen, "votes": 10, "missing": {}}
    shown = shell.json("show")
    assert (shown["protocolVersion"], shown["epoch"], shown["next"]) == (BEFORE, 1, chosen)
    assert [(node["name"], node["shards"], node["agreed"]) for node in shown["nodes"]] == [
        (f"node-{i}", 2, chosen) for i in range(5)
    ]
    assert f"version {AFTER} begins with epoch 2" in shell("show")[1]
    assert "begins with epoch 2, as was chosen before" in shell("activate")[2]

    shell.next_epoch()
    shown = shell.json("show")
    assert (shown["protocolVersion"], shown["epoch"], shown["next"]) == (AFTER, 2, None)
    assert f"version {AFTER + 1} is not known everywhere" in shell("show")[1]
    code, _, err = shell("activate")
    assert code == 3 and f"this command knows protocol versions up to {AFTER}, not {AFTER + 1}" in err


def test_it_says_who_is_missing(shell: Shell) -> None:
    for name in ("node-3", "node-4"):  # their owner is somewhere else
        shell.folder.keys_file_of(name).write_text("{}")
    error = shell.json("activate", "--from-epoch", "7", code=3)["error"]["details"][0]
    assert error["reason"] == "PROTOCOL_VOTES_MISSING"
    assert (error["metadata"]["weight"], error["metadata"]["not_agreed"]) == ("6", "node-3, node-4")
    code, _, err = shell("activate", "--from-epoch", "7")
    assert code == 3
    assert "not agreed to by their owners: node-3, node-4" in err
    assert "have the other owners run `haulout protocol activate --from-epoch 7`" in err
    shell.world.transport.dead.add("node-2:1")
    assert "node-2          2 shards  does not answer (unreachable)" in shell("show")[1]
    assert f"node-1          2 shards  knows {AFTER}, agreed to {AFTER} from epoch 7 on" in shell("show")[1]


def test_who_is_not_needed_is_told(shell: Shell) -> None:
    shell.world.transport.dead.add("node-2:1")
    code, _, err = shell("activate")
    assert code == 0
    assert f"protocol version {AFTER} begins with epoch 2, by the votes of 8 shards" in err
    assert "node-2 has not voted (UNREACHABLE); look whether it can follow before that" in err


def test_refuses_an_epoch_that_has_begun(shell: Shell) -> None:
    shell.next_epoch()
    assert shell.json("activate", "--from-epoch", "2", code=3)["error"]["details"][0]["reason"] == "WRONG_VERSION"
    for never in ("1", str(1 << 32)):
        assert shell("activate", "--from-epoch", never)[0] == 2


def test_damaged_keys_are_no_absent_ones(shell: Shell) -> None:
    write_json(shell.folder.keys_file_of("node-1"), {"nodeId": "0x1"})
    with pytest.raises(FolderDamaged):
        shell.folder.governance_secrets()
    assert NetworkFolder(shell.folder.root / "elsewhere").governance_secrets() == []
