"""What documents and comments name is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

QUOTED = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?:[\w.-]+/)+[\w.-]*")
COMMAND = re.compile(r"`?\bmake ([a-z][a-z0-9-]*)`")


@pytest.fixture(scope="module")
def tracked(root: Path) -> set[str]:
    """All files of the repository and their folders."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    files = [Path(name) for name in listed.split("\0") if name]
    return {str(path) for file in files for path in (file, *file.parents)}


@pytest.fixture(scope="module")
def texts(root: Path, tracked: set[str]) -> dict[str, str]:
    """What people read: documents, and modules with their comments. The licences of others are not ours."""
    names = (name for name in tracked if name.endswith((".md", ".py", ".proto")) and (root / name).is_file())
    return {name: (root / name).read_text() for name in names if name != "graphql_api/console/licenses.md"}


def test_paths_and_documents_that_are_named_exist(tracked: set[str], texts: dict[str, str]) -> None:
    ends = {name[at:] for name in tracked for at in (0, *(m.end() for m in re.finditer("/", name)))}
    folders = {name.split("/")[0] for name in tracked if "/" in name}
    lost = []
    for where, text in texts.items():
        for word in (word.rstrip(".,;:") for quoted in QUOTED.findall(text) for word in quoted.split()):
            is_ours = PATH.fullmatch(word) is not None and word.split("/")[0] in folders and "NAME" not in word
            is_document = re.fullmatch(r"[\w./-]+\.md", word) is not None
            if (is_ours or is_document) and not {word.rstrip("/"), word.removeprefix("./")} & ends:
                lost.append(f"{where}: {word}")
    assert not lost


def test_everything_that_is_to_be_made_can_be_made(root: Path, texts: dict[str, str]) -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (root / "Makefile").read_text(), re.M))
    named = {(where, target) for where, text in texts.items() for target in COMMAND.findall(text)}
    assert len(named) > 20
    assert not {f"{where}: make {target}" for where, target in named if target not in targets}
