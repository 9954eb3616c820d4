"""The genesis document: everything that is fixed before a network's first block, as JSON for people.

Its identity is BLAKE2b-256 over its canonical bytes (BCS, not JSON), the random field included: that is the chain id,
and the `chainId` in the JSON must be it.
"""

from __future__ import annotations

import json
import typing
from dataclasses import dataclass
from typing import Any, Final

from haulout import bcs
from haulout.bcs import U8, U16, U32, U64, Bytes32, Bytes48, Bytes96
from haulout.crypto.hashing import TAG_GENESIS, TAG_OBJECT_ID, blake2b256
from haulout.errors import InvalidField
from haulout.primitives import Digest, ObjectId, hex_id_text

GENESIS_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class GenesisAccount:
    """An account and what it holds from the start; addresses are distinct."""

    address: Bytes32
    balance_frost: U64


@dataclass(frozen=True, slots=True)
class GenesisNode:
    """A node and the stake that its governance account has put into it."""

    name: str
    addresses: tuple[str, ...]
    public_key: Bytes48
    network_public_key: bytes
    proof_of_possession: Bytes96
    governance: Bytes32
    capability: Bytes32
    commission_rate_bps: U16
    storage_price_frost: U64
    write_price_frost: U64
    node_capacity_bytes: U64
    stake_frost: U64


@dataclass(frozen=True, slots=True)
class Genesis:
    """The whole document."""

    version: U8
    random: Bytes32
    protocol_version: U32
    scheme: str
    genesis_time_ms: U64
    n_shards: U16
    epoch_duration_ms: U64
    max_epochs_ahead: U32
    max_blob_bytes: U64
    manual_epochs: bool
    driver_grace_ms: U64
    allow_unsafe: bool
    hysteresis_bps: U16
    accounts: tuple[GenesisAccount, ...]
    nodes: tuple[GenesisNode, ...]

    @property
    def chain_id(self) -> Digest:
        """The network's name: a digest of everything above."""
        return blake2b256(TAG_GENESIS + bcs.encode(self))

    def node_id(self, index: int) -> ObjectId:
        """The id of the node at this place of the list: as transactions make ids, the chain id in place of a digest."""
        return ObjectId(blake2b256(TAG_OBJECT_ID + self.chain_id + index.to_bytes(8, "little")))

    def to_json(self) -> str:
        """The document as people read it; `from_json` gives the same genesis back."""
        document = {"chainId": hex_id_text(self.chain_id), **_to_json(self)}
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Genesis:
        """Read a document strictly.

        Raises:
            InvalidField: with the field and what is wrong: not JSON, missing, unknown or of another type, or the
                chain id is not the document's.
        """
        try:
            document = json.loads(text)
        except ValueError as e:
            raise InvalidField(field="genesis", problem=f"not JSON: {e}") from e
        if not isinstance(document, dict):
            raise InvalidField(field="genesis", problem="not a JSON object")
        claimed = document.pop("chainId", None)
        genesis: Genesis = _from_json(cls, document, "genesis")
        try:
            chain_id = hex_id_text(genesis.chain_id)
        except OverflowError as e:
            raise InvalidField(field="genesis", problem=f"a number or key does not fit its field: {e}") from e
        if claimed != chain_id:
            raise InvalidField(field="genesis.chainId", problem=f"{claimed!r}, but the document's is {chain_id}")
        return genesis


# --- the document as JSON -----------------------------------------------------------------------------------


def _to_json(value: Any) -> Any:
    """Fields in camel case, bytes as 0x hex, tuples as lists."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {_camel(name): _to_json(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def _from_json(hint: Any, value: Any, path: str) -> Any:
    """Read a value of an annotated type back; refuses what is missing, unknown or of another type."""

    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(hint, "__dataclass_fields__"):
        if not isinstance(value, dict):
            raise InvalidField(field=path, problem="not an object")
        hints = typing.get_type_hints(hint, include_extras=True)
        names = {_camel(name): name for name in hint.__dataclass_fields__}
        for key in value:
            if key not in names:
                raise InvalidField(field=f"{path}.{key}", problem="unknown field")
        for key in names:
            if key not in value:
                raise InvalidField(field=f"{path}.{key}", problem="missing")
        return hint(**{name: _from_json(hints[name], value[key], f"{path}.{key}") for key, name in names.items()})
    if origin is tuple:
        if not isinstance(value, list):
            raise InvalidField(field=path, problem="not a list")
        return tuple(_from_json(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    plain = arguments[0] if origin is typing.Annotated else hint
    if plain is bytes:
        return _parse_bytes(value, path)
    if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        raise InvalidField(field=path, problem=f"not of type {plain.__name__}")
    return value


def _parse_bytes(value: Any, path: str) -> bytes:
    if not isinstance(value, str) or not value.startswith("0x"):
        raise InvalidField(field=path, problem="not 0x and hex digits")
    try:
        return bytes.fromhex(value[2:])
    except ValueError as e:
        raise InvalidField(field=path, problem="not 0x and hex digits") from e


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
