"""What commands take, say and refuse, without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from haulout.cli.blobs import Identity, _parse_identities, _status_text
from haulout.cli.info import duration_text
from haulout.cli.main import main
from haulout.cli.output import bytes_text
from haulout.cli.session import load_client_document, open_session
from haulout.embedded.folder import FolderDamaged, NetworkFolder, NoNetwork
from haulout.errors import InvalidField
from haulout.primitives import BlobId, ObjectId, blob_id_text, hex_id_text

BLOB_ID = BlobId(bytes([0xFB]) + bytes(31))  # its text begins with a dash
OBJECT_ID = ObjectId(bytes(31) + b"\x07")
CLIENT = {name: name for name in ("genesis", "wallet", "ledger", "gateway", "graphql", "supervisor")}


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes_for_people(size_bytes: int, text: str) -> None:
    assert bytes_text(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 seconds"), (86_400, "1 day"), (1_209_600, "14 days"), (5400, "90 minutes")]
)
def test_durations_for_people(seconds: int, text: str) -> None:
    assert duration_text(seconds) == text


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(
    "arguments",
    [
        ["read", "-" + "A" * 42],
        ["blob-status"],
        ["list-blobs", "--include-expired"],
        ["extend", "--blob-obj-id", "0x7", "--epochs-extended", "1"],
        ["share", "0x7", "--yes"],
        ["fund-shared-blob", "--shared-blob-obj-id", "0x7", "--amount", "1WAL"],
        ["delete", "0x7", "--yes"],
        ["info"],
    ],
)
def test_without_a_network_each_command_says_so(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments == ["blob-status"]:
        arguments = ["blob-status", blob_id_text(BLOB_ID)]
    assert run([*arguments, "--dir", str(tmp_path), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["details"][0]["reason"] == "NO_NETWORK"


@pytest.mark.parametrize(
    "arguments",
    [
        ["read", "short"],
        ["read", blob_id_text(BLOB_ID), "--skip-consistency-check", "--strict-consistency-check"],
        ["read", blob_id_text(BLOB_ID), "--no-such-option"],
        ["blob-status"],
        ["blob-status", blob_id_text(BLOB_ID), "--file", "x"],
        ["extend", "--blob-obj-id", "x", "--epochs-extended", "1"],
        ["extend", "--blob-obj-id", "0x7", "--epochs-extended", "0"],
        ["share"],
        ["share", "0x7", "--blob-obj-id", "0x7"],
        ["share", "0x7", "--amount", "much"],
        ["fund-shared-blob", "0x7"],
        ["delete"],
        ["store", "x"],
        ["ledger"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err


def test_an_id_is_known_by_its_look() -> None:
    identities = _parse_identities([hex_id_text(OBJECT_ID), blob_id_text(BLOB_ID)], [blob_id_text(BLOB_ID)], [], [])
    assert identities == [Identity(blob_id=BLOB_ID), Identity(object_id=OBJECT_ID)]
    assert identities[0].document() == {"blobId": blob_id_text(BLOB_ID), "objectId": None, "file": None}
    with pytest.raises(InvalidField):
        _parse_identities([], [], [], [])


def test_statuses_for_people() -> None:
    counts = {"count_deletable_total": 2, "count_deletable_certified": 0}
    permanent = {"endEpoch": 9, "isCertified": True, "deletableCounts": counts}
    assert "does not exist" in _status_text("nonexistent")
    assert _status_text({"permanent": permanent}) == "stored, permanent until the start of epoch 9"
    assert _status_text({"deletable": {"deletableCounts": counts}}).startswith("registered, not yet stored")
    assert "invalid" in _status_text({"invalid": {}})


async def test_a_folder_that_says_too_little(tmp_path: Path) -> None:
    folder = NetworkFolder(tmp_path)
    with pytest.raises(NoNetwork):
        load_client_document(folder)
    folder.client_file.write_text(json.dumps({**CLIENT, "later": 1}))
    assert load_client_document(folder).ledger == "ledger"
    with pytest.raises(InvalidField, match="genesis"):
        async with open_session(tmp_path):
            pass
    folder.client_file.write_text(json.dumps({**CLIENT, "ledger": None}))
    with pytest.raises(FolderDamaged, match="ledger missing"):
        load_client_document(folder)
