"""How commands name objects: those that exist, and those that the same transaction makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from haulout.bcs import U16, Bytes32, Union


@dataclass(frozen=True, slots=True)
class Existing:
    """An object that is in the state when the transaction starts."""

    object_id: Bytes32


@dataclass(frozen=True, slots=True)
class Created:
    """Output `output_index` of the command at `command_index` of the same transaction."""

    command_index: U16
    output_index: U16


ObjectRef = Annotated[Existing | Created, Union({0: Existing, 1: Created})]
