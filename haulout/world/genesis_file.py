"""The genesis file: every process of a network starts from the same one."""

from __future__ import annotations

from pathlib import Path

from haulout.errors import InvalidField
from haulout.ledger.genesis import Genesis


def read_genesis(path: Path) -> Genesis:
    """The genesis document of a file.

    Raises:
        InvalidField: no such file, or not a genesis document.
    """
    try:
        return Genesis.from_json(path.read_text())
    except (OSError, UnicodeDecodeError) as e:
        raise InvalidField(field="genesis", problem=f"{path} cannot be read: {e}") from e
