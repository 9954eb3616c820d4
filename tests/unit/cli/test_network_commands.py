"""The commands that need a network, over one of memory: what they print, in both ways, and how they end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.util
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from haulout import codec
from haulout.account.wallet import Wallet
from haulout.cli.main import main
from haulout.cli.session import ClientDocument, Session
from haulout.embedded.folder import NetworkFolder
from haulout.ledger.commands import Existing, RequestLeave, RequestWithdraw
from haulout.primitives import EncodingType, ObjectId, blob_id_text

_spec = importlib.util.spec_from_file_location("client_world", Path(__file__).parents[1] / "client" / "conftest.py")
assert _spec is not None and _spec.loader is not None
client_world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(client_world)

DATA = random.Random(3).randbytes(2_000)
BLOB_ID = blob_id_text(codec.compute_blob_id(DATA, 10)[0])
UNKNOWN = "A" * 43


class Shell:
    """Runs commands one after the other against the same network."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.loop = asyncio.new_event_loop()
        self.world = self.loop.run_until_complete(client_world.World(manual_epochs=True).start())
        self.folder = folder
        self.capsys = capsys
        self.file = folder / "film.mp4"
        self.file.write_bytes(DATA)

    def close(self) -> None:
        self.loop.run_until_complete(self.world.stop())
        self.loop.close()

    def run_session(self, directory: Path | None, work: Any) -> Any:
        gateway = "http://127.0.0.1:31415"
        document = ClientDocument("", "", "", gateway, "", "")
        network = self.world.make_network(proven=True)
        session = Session(NetworkFolder(self.folder), document, network, self.world.wallet, self.world.sequencer)
        return self.loop.run_until_complete(self.world.run(work(session)))

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = self.capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    def json(self, *arguments: str, code: int = 0) -> Any:
        found, out, _ = self(*arguments, "--json")
        assert found == code, out
        return json.loads(out)

    def stored(self) -> dict[str, Any]:
        """Store the file; its blob object."""
        [document] = self.json("store", str(self.file), "--epochs", "5")
        return document["blobStoreResult"]["newlyCreated"]["blobObject"]


def reason(document: dict[str, Any]) -> str:
    """Why a command was refused."""
    return document["error"]["details"][0]["reason"]


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    shell = Shell(tmp_path, capsys)
    monkeypatch.setattr("haulout.cli.session.run_session", shell.run_session)
    yield shell
    shell.close()


def test_store_tells_id_cost_and_where_to_read(shell: Shell) -> None:
    code, out, _ = shell("store", str(shell.file), "--epochs", "5")
    assert code == 0
    assert BLOB_ID in out
    assert f"http://127.0.0.1:31415/v1/blobs/{BLOB_ID}" in out
    assert "new storage" in out
    assert "nothing was paid" in shell("store", str(shell.file), "--epochs", "5")[1]


def test_store_in_json(shell: Shell) -> None:
    blob = shell.stored()
    assert (blob["blobId"], blob["size"], blob["deletable"], blob["storage"]["endEpoch"]) == (BLOB_ID, 2_000, True, 6)
    [again] = shell.json("store", str(shell.file), "--epochs", "3")
    assert again == {
        "blobStoreResult": {"alreadyCertified": {"blobId": BLOB_ID, "object": blob["id"], "endEpoch": 6}},
        "path": str(shell.file),
    }


def test_a_longer_store_extends_unless_told_not_to(shell: Shell) -> None:
    shell.stored()
    [longer] = shell.json("store", str(shell.file), "--epochs", "7")
    assert longer["blobStoreResult"]["newlyCreated"]["resourceOperation"]["reuseAndExtend"]["epochsExtended"] == 2
    [bought] = shell.json("store", str(shell.file), "--epochs", "9", "--ignore-resources")
    assert "registerFromScratch" in bought["blobStoreResult"]["newlyCreated"]["resourceOperation"]


def test_a_dry_run_tells_what_a_store_then_costs(shell: Shell) -> None:
    before = shell.world.balance()
    [quote] = shell.json("store", str(shell.file), "--epochs", "5", "--dry-run")
    assert shell.world.balance() == before
    assert quote == {
        "path": str(shell.file),
        "blobId": BLOB_ID,
        "unencodedSize": 2_000,
        "encodedSize": codec.sizes.encoded_length(2_000, 10),
        "storageCost": quote["storageCost"],
        "encodingType": "RS2",
    }
    shell.stored()
    assert before - shell.world.balance() == quote["storageCost"]


def test_of_several_files_the_good_ones_are_stored(shell: Shell, tmp_path: Path) -> None:
    documents = shell.json("store", str(tmp_path / "missing"), str(shell.file), "--epochs", "max", code=2)
    assert documents[0]["blobStoreResult"]["error"]["code"] == "MALFORMED_REQUEST"
    assert documents[1]["blobStoreResult"]["newlyCreated"]["blobObject"]["storage"]["endEpoch"] == 54


@pytest.mark.parametrize("epochs", ["0", "-1", "five", "54", "1.5", ""])
def test_refuses_epochs(shell: Shell, epochs: str) -> None:
    assert shell("store", str(shell.file), "--epochs", epochs)[0] == 2
    assert all(node.calls == [] for node in shell.world.nodes)


def test_a_store_without_a_quorum_says_who_is_missing_and_what_to_do(shell: Shell) -> None:
    shell.world.only(0, 1, 2)
    code, _, err = shell("store", str(shell.file), "--epochs", "5")
    assert code == 4
    assert "6 of the 7 shards" in err
    assert "node-3: unreachable, node-4: unreachable" in err
    assert "store it again when more nodes are back" in err
    shell.world.only(0, 1, 2, 3, 4)
    code, out, _ = shell("store", str(shell.file), "--epochs", "5")
    assert code == 0
    assert "an earlier try had paid" in out


@pytest.mark.parametrize("options", [[], ["--strict-consistency-check"], ["--skip-consistency-check"]])
def test_read_into_a_file(shell: Shell, tmp_path: Path, options: list[str]) -> None:
    shell.stored()
    target = tmp_path / "out"
    assert shell.json("read", BLOB_ID, "--out", str(target), *options) == {"out": str(target), "blobId": BLOB_ID}
    assert target.read_bytes() == DATA


def test_read_as_json(shell: Shell) -> None:
    shell.stored()
    document = shell.json("read", BLOB_ID)
    assert (document["blobId"], base64.b64decode(document["blob"])) == (BLOB_ID, DATA)


@pytest.mark.parametrize(("size", "options"), [(2_000, ["--encoding", "rs8"]), (1_900_000, [])])
def test_a_blob_in_stripes_is_quoted_stored_found_and_read(
    shell: Shell, tmp_path: Path, size: int, options: list[str]
) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    blob_id = blob_id_text(codec.compute_blob_id(data, 10, encoding=EncodingType.RS8)[0])
    film = tmp_path / "long.mp4"
    film.write_bytes(data)
    [quote] = shell.json("store", str(film), "--epochs", "5", "--dry-run", *options)
    assert (quote["blobId"], quote["encodingType"]) == (blob_id, "RS8")
    [document] = shell.json("store", str(film), "--epochs", "5", *options)
    created = document["blobStoreResult"]["newlyCreated"]
    assert (created["blobObject"]["blobId"], created["cost"]) == (blob_id, quote["storageCost"])
    target = tmp_path / "out"
    shell.json("read", blob_id, "--out", str(target), "--strict-consistency-check")
    assert target.read_bytes() == data
    assert base64.b64decode(shell.json("read", blob_id)["blob"]) == data
    if not options:
        assert shell.json("blob-status", "--file", str(film))["blobId"] == blob_id


def test_read_of_an_unknown_blob(shell: Shell) -> None:
    assert shell("read", UNKNOWN)[0] == 3
    error = shell.json("read", UNKNOWN, code=3)["error"]
    assert error["details"][0]["reason"] == "BLOB_NOT_FOUND"


def test_read_while_too_few_nodes_are_there(shell: Shell, tmp_path: Path) -> None:
    shell.stored()
    shell.world.only(1)
    code, _, err = shell("read", BLOB_ID, "--out", str(tmp_path / "out"))
    assert code == 4
    assert "2 of the 4 slivers" in err
    assert not (tmp_path / "out").exists()


def test_blob_status(shell: Shell) -> None:
    assert shell.json("blob-status", UNKNOWN) == {"blobId": UNKNOWN, "status": "nonexistent"}
    shell.stored()
    by_file = shell.json("blob-status", "--file", str(shell.file))
    assert by_file["status"]["deletable"]["deletableCounts"]["count_deletable_certified"] == 1
    assert by_file["blobId"] == BLOB_ID
    assert "stored, deletable" in shell("blob-status", BLOB_ID)[1]


def test_list_extend_delete(shell: Shell) -> None:
    assert shell.json("list-blobs") == []
    blob = shell.stored()
    assert shell.json("list-blobs") == [blob]
    assert BLOB_ID in shell("list-blobs")[1]
    assert shell.json("extend", "--blob-obj-id", blob["id"], "--epochs-extended", "3") == {"epochsExtended": 3}
    [extended] = shell.json("list-blobs")
    assert extended["storage"]["endEpoch"] == 9
    [deleted] = shell.json("delete", BLOB_ID)
    assert deleted["deletedBlobs"] == [extended]
    assert deleted["postDeletionStatus"] == "nonexistent"
    assert deleted["blobIdentity"] == {"blobId": BLOB_ID, "objectId": None, "file": None}
    assert shell.json("list-blobs") == []
    assert shell("read", BLOB_ID)[0] == 3


def test_share_fund_extend(shell: Shell) -> None:
    [stored] = shell.json("store", str(shell.file), "--epochs", "5", "--permanent")
    blob = stored["blobStoreResult"]["newlyCreated"]["blobObject"]
    assert "sharedBlobs" not in shell.json("blob-status", BLOB_ID)
    assert shell.json("share", blob["id"], "--amount", "1000") == {"sharedBlobObjectId": blob["id"], "amount": 1_000}
    assert shell.json("list-blobs") == []
    assert shell.json("list-blobs", "--shared") == [{**blob, "shared": {"funds": 1_000}}]
    extend = ("extend", "--shared", "--blob-obj-id", blob["id"], "--epochs-extended", "2")
    assert reason(shell.json(*extend, code=3)) == "INSUFFICIENT_SHARED_FUNDS"
    fund = ("fund-shared-blob", "--shared-blob-obj-id", blob["id"])
    assert shell.json(*fund, "--amount", "0.5WAL") == {"amount": 500_000_000}
    assert shell.json(*extend) == {"epochsExtended": 2}
    [shared] = shell.json("blob-status", BLOB_ID)["sharedBlobs"]
    assert shared["storage"]["endEpoch"] == 8
    assert 0 < shared["shared"]["funds"] < 500_001_000
    assert "shared until the start of epoch 8, with 0." in shell("blob-status", BLOB_ID)[1]
    assert "to extend it" in shell("list-blobs", "--shared")[1]
    assert "for extensions" in shell(*fund, "--amount", "1")[1]
    assert reason(shell.json("extend", *extend[2:], code=3)) == "BLOB_IS_SHARED"


def test_what_would_be_lost_is_not_shared(shell: Shell) -> None:
    blob = shell.stored()
    assert reason(shell.json("share", blob["id"], code=3)) == "NOT_SHAREABLE"
    assert reason(shell.json("share", "0x7", code=3)) == "BLOB_NOT_FOUND"
    assert reason(shell.json("fund-shared-blob", "0x7", "--amount", "1", code=3)) == "BLOB_NOT_FOUND"
    assert reason(shell.json("fund-shared-blob", blob["id"], "--amount", "1", code=3)) == "BLOB_NOT_SHARED"
    assert reason(shell.json("extend", "--shared", "--blob-obj-id", "0x7", "--epochs-extended", "1", code=3)) == (
        "OBJECT_NOT_FOUND"
    )
    assert shell.json("list-blobs") == [blob]


def test_store_and_share_at_once(shell: Shell) -> None:
    store = ("store", str(shell.file), "--epochs", "5", "--share")
    assert reason(shell.json(*store, code=2)) == "INVALID_BLOB_PERSISTENCE"
    [stored] = shell.json(*store, "--permanent")
    created = stored["blobStoreResult"]["newlyCreated"]
    assert created["sharedBlobObject"] == created["blobObject"]["id"]
    assert [shared["id"] for shared in shell.json("list-blobs", "--shared")] == [created["sharedBlobObject"]]


def test_money_for_a_shared_blob_that_has_expired_is_not_taken(shell: Shell) -> None:
    [stored] = shell.json("store", str(shell.file), "--epochs", "1", "--permanent", "--share")
    shared = stored["blobStoreResult"]["newlyCreated"]["sharedBlobObject"]
    assert shell("epoch", "advance", "--no-wait")[0] == 0
    assert reason(shell.json("fund-shared-blob", shared, "--amount", "1", code=3)) == "BLOB_EXPIRED"
    assert shell.json("list-blobs", "--shared") == []
    assert [blob["id"] for blob in shell.json("list-blobs", "--shared", "--include-expired")] == [shared]


def test_extend_refuses_in_words_of_the_ledger(shell: Shell) -> None:
    blob = shell.stored()
    error = shell.json("extend", "--blob-obj-id", blob["id"], "--epochs-extended", "60", code=3)["error"]
    assert error["details"][0]["reason"] == "INVALID_EPOCHS_AHEAD"
    missing = shell.json("extend", "--blob-obj-id", "0x7", "--epochs-extended", "1", code=3)["error"]
    assert missing["status"] in ("NOT_FOUND", "FAILED_PRECONDITION")


def test_info(shell: Shell) -> None:
    info = shell.json("info")
    assert info["storageInfo"] == {"nShards": 10, "nNodes": 5}
    _, text, _ = shell("info")
    assert "5 with 10 shards" in text
    assert "node-4:1" in text
    assert info["finality"] == {"sequenced": 0, "committed": 0, "attested": 0}
    assert "attested by the nodes up to 0" in text


def test_info_says_why_the_next_vote_changes_nothing(shell: Shell) -> None:
    """Three nodes of at most three shards each cannot hold ten."""
    assert shell.json("info")["committeeInfo"]["keptBecause"] is None
    world = shell.world
    parts = {
        "chain_id": world.town.genesis.chain_id,
        "ledger": world.sequencer,
        "clock": world.clock,
        "rng": client_world.SeededRng(1),
    }

    async def take_stake_out() -> None:
        for node in world.town.nodes[:2]:
            wallet = Wallet(node.governance_secret, **parts)
            [(stake, _)] = await world.network.view.owned_stakes(wallet.address)
            await world.network.view.reach((await wallet.execute([RequestWithdraw(Existing(stake))])).height)

    shell.loop.run_until_complete(world.run(take_stake_out()))
    assert shell.json("info")["committeeInfo"]["keptBecause"]["code"] == "COMMITTEE_TOO_SMALL"
    assert "it stays as it is: 3 nodes at most 3 shards each hold 9 of 10; 4 nodes are needed" in shell("info")[1]


# --- stake and epochs ---------------------------------------------------------------------------------------


def test_a_stake_is_made_listed_and_taken_back(shell: Shell) -> None:
    node_id = shell.json("info")["committeeInfo"]["currentStorageNodes"][0]["nodeId"]
    staked = shell.json("stake", "--node-id", node_id, "--amount", "5WAL")
    assert (staked["nodeId"], staked["principal"], staked["state"]) == (node_id, 5 * 10**9, "Staked")
    assert shell.json("list-staked-wal") == [staked]
    _, text, _ = shell("list-staked-wal")
    assert "5 WAL" in text and "node-" in text and "from epoch 2" in text
    paid = shell.json("withdraw-stake", "--object-id", staked["id"])
    assert paid == {"objectId": staked["id"], "paidOut": 5 * 10**9}
    assert shell.json("list-staked-wal") == []


def test_a_node_is_staked_on_by_its_name(shell: Shell) -> None:
    nodes = {node["name"]: node["nodeId"] for node in shell.json("info")["committeeInfo"]["currentStorageNodes"]}
    assert shell.json("stake", "--node-id", "node-2", "--amount", "5WAL")["nodeId"] == nodes["node-2"]
    code, _, err = shell("stake", "--node-id", "node-9", "--amount", "5WAL")
    assert code == 2 and "no node is called 'node-9'; `haulout info` lists them" in err


def test_a_stake_at_work_is_requested_back_first(shell: Shell) -> None:
    node_id = shell.json("info")["committeeInfo"]["currentStorageNodes"][0]["nodeId"]
    staked = shell.json("stake", "--node-id", node_id, "--amount", "5WAL")
    shell.json("epoch", "advance", "--no-wait")
    assert shell.json("withdraw-stake", "--object-id", staked["id"], code=3)["error"]["details"][0]["reason"] == (
        "NOT_WITHDRAWING"
    )
    requested = shell.json("request-withdraw-stake", "--object-id", staked["id"])
    assert requested["state"] == {"Withdrawing": {"withdrawEpoch": 3}}
    code, _, err = shell("request-withdraw-stake", "--object-id", staked["id"])
    assert code == 3 and "NOT_STAKED" in err


def test_an_epoch_is_advanced_by_hand(shell: Shell) -> None:
    assert shell.json("epoch", "advance", "--no-wait") == {"epoch": 2, "phase": "Sync", "movingShards": 0}
    code, _, err = shell("epoch", "advance", "--no-wait")
    assert code == 3 and "WRONG_EPOCH_STATE" in err


def test_a_plan_tells_who_would_own_what(shell: Shell) -> None:
    now = shell.json("epoch", "plan")
    assert [(m["name"], m["shards"], m["nextShards"]) for m in now["members"]] == [
        (f"node-{i}", 2, 2) for i in range(5)
    ]
    assert (now["epoch"], now["movedShards"], now["isPossible"], now["problem"]) == (2, 0, True, None)
    more = shell.json("epoch", "plan", "--stake", "node-1=+2000WAL")
    assert {m["name"]: m["nextShards"] for m in more["members"]}["node-1"] == 3
    assert more["movedShards"] == 1
    _, text, _ = shell("epoch", "plan", "--stake", "node-1=+2000WAL")
    assert "node-1          3 shards (+1)" in text and "1 shards move" in text


def test_a_plan_says_when_too_few_would_be_left(shell: Shell) -> None:
    planned = shell.json("epoch", "plan", "--leave", "node-0", "--leave", "node-1")
    assert (planned["isPossible"], planned["problem"]["code"]) == (False, "COMMITTEE_TOO_SMALL")
    _, text, _ = shell("epoch", "plan", "--leave", "node-0", "--leave", "node-1")
    assert "the committee stays as it is" in text


@pytest.mark.parametrize(
    "arguments", [("--stake", "node-1=500"), ("--stake", "node-9=+1WAL"), ("--leave", "nobody"), ("--stake", "=+5")]
)
def test_a_plan_refuses_what_it_does_not_understand(shell: Shell, arguments: tuple[str, str]) -> None:
    code, _, err = shell("epoch", "plan", *arguments)
    assert code == 2 and "MALFORMED_REQUEST" in err


NOBODY = "0x" + "ab" * 32


@pytest.mark.parametrize(
    "arguments",
    [
        ("epoch", "plan", "--stake", f"{NOBODY}=+500WAL"),
        ("epoch", "plan", "--leave", NOBODY),
        ("stake", "--node-id", NOBODY, "--amount", "5WAL"),
    ],
)
def test_an_id_that_no_node_has_is_refused(shell: Shell, arguments: tuple[str, ...]) -> None:
    code, out, err = shell(*arguments)
    assert code == 3 and "POOL_NOT_FOUND" in err and NOBODY in err and out == ""


def test_a_plan_refuses_stake_that_the_ledger_would_refuse(shell: Shell) -> None:
    world = shell.world
    [leaver, *_] = world.town.nodes

    async def leave() -> None:
        owner = Wallet(
            leaver.governance_secret,
            chain_id=world.town.genesis.chain_id,
            ledger=world.sequencer,
            clock=world.clock,
            rng=world.network.rng,
        )
        await world.network.view.reach((await owner.execute([RequestLeave(leaver.node_id, 1)])).height)

    shell.loop.run_until_complete(world.run(leave()))
    code, _, err = shell("epoch", "plan", "--stake", f"{leaver.name}=+5000WAL")
    assert code == 3 and "POOL_IS_NOT_ACTIVE" in err
    assert shell.json("epoch", "plan", "--stake", f"{leaver.name}=-5WAL")["isPossible"]


# --- nodes come and go --------------------------------------------------------------------------------------


class Supervising:
    """A `ClusterControl` that adds, or lets go, the node it was given."""

    def __init__(self, node_id: ObjectId) -> None:
        self.node_id = node_id
        self.asked: list[str] = []

    async def add_node(self, stake_frost: int) -> tuple[str, ObjectId]:
        self.asked.append(f"add {stake_frost}")
        return "node-5", self.node_id

    async def drain_node(self, name: str) -> ObjectId:
        self.asked.append(f"drain {name}")
        return self.node_id

    async def remove_node(self, name: str, *, is_dead: bool) -> ObjectId:
        self.asked.append(f"remove {name} {is_dead}")
        return self.node_id


@pytest.fixture
def supervise(monkeypatch: pytest.MonkeyPatch) -> Callable[[ObjectId], Supervising]:
    """Have commands find a network that is supervised."""

    def supervise(node_id: ObjectId) -> Supervising:
        control = Supervising(node_id)

        @contextlib.asynccontextmanager
        async def open_control(_: NetworkFolder) -> AsyncIterator[Supervising]:
            yield control

        monkeypatch.setattr("haulout.embedded.control.open_control", open_control)
        monkeypatch.setattr(NetworkFolder, "require_shape", lambda _: None)
        return control

    return supervise


def test_adding_a_node_tells_what_its_stake_is_worth(shell: Shell, supervise: Any) -> None:
    member = shell.world.town.nodes[0].node_id
    control = supervise(member)
    _, _, text = shell("node", "add", "--stake", "2000WAL")
    assert "it is a member from epoch 2 on, with 2 shards" in text
    supervise(ObjectId(bytes(32)))
    code, _, text = shell("node", "add", "--stake", "0")
    assert code == 0 and "that is worth no shard" in text
    assert control.asked == [f"add {2_000 * 10**9}"]


def test_a_node_is_let_go_when_nothing_depends_on_it(shell: Shell, supervise: Any) -> None:
    control = supervise(ObjectId(bytes(32)))  # owns nothing
    _, _, text = shell("node", "drain", "node-5")
    assert "node-5 is ended" in text and "attested this in block 0" in text
    assert control.asked == ["drain node-5", "remove node-5 False"]
