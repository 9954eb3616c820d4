"""`haulout ledger restore --listed`: what a cluster runs before every start of the ledger."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from haulout.cli.main import app

runner = CliRunner()


def restore(folder: Path, listed: Path) -> int:
    arguments = ["ledger", "restore", "--from-nodes", "--listed", str(listed), "--data", str(folder)]
    return runner.invoke(app, [*arguments, "--genesis", str(folder / "genesis.json")]).exit_code


def test_where_nothing_is_lost_nothing_is_done(tmp_path: Path) -> None:
    assert restore(tmp_path, tmp_path / "nodes") == 0
    assert list(tmp_path.iterdir()) == []


def test_what_has_been_restored_is_not_restored_again(tmp_path: Path) -> None:
    listed = tmp_path / "nodes"
    listed.write_text("127.0.0.1:1\n")
    assert restore(tmp_path, listed) != 0  # there is no genesis: it is tried
    (tmp_path / "restored").touch()
    assert restore(tmp_path, listed) == 0
