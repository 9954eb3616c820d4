"""Keys of nodes and accounts, as their Secrets hold them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from haulout.crypto import ed25519, messages
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import InvalidField
from haulout.ports import Rng
from haulout.primitives import Address

KEYS_FILE = "keys.json"
WALLET_FILE = "wallet.json"
TOKEN_FILE = "token"


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """A node's identity: the key it signs confirmations with, and the account it reports with."""

    name: str
    bls_secret: bytes = field(repr=False)
    capability_secret: bytes = field(repr=False)

    @property
    def capability(self) -> Address:
        return ed25519.address_of(ed25519.public_key(self.capability_secret))

    def prove_possession(self, scheme: SignatureScheme, *, epoch: int, governance: Address) -> bytes:
        """The signature with which `governance` registers this key in an epoch; epoch 0 is genesis."""
        public_key = scheme.public_key(self.bls_secret)
        return scheme.sign(self.bls_secret, messages.proof_of_possession(epoch, governance, public_key))


def make_node_keys(name: str, rng: Rng, scheme: SignatureScheme) -> NodeKeys:
    """A new identity."""
    return NodeKeys(name, scheme.generate(rng.random_bytes(32)), ed25519.generate(rng.random_bytes(32)))


def node_secret_data(keys: NodeKeys) -> dict[str, str]:
    """What goes into the Secret: the file that the node's process reads."""
    document = {
        "name": keys.name,
        "blsSecret": keys.bls_secret.hex(),
        "capabilitySecret": keys.capability_secret.hex(),
    }
    return {KEYS_FILE: json.dumps(document, indent=2, sort_keys=True) + "\n"}


def wallet_secret_data(secret: bytes) -> dict[str, str]:
    """What goes into the Secret of an account."""
    return {WALLET_FILE: json.dumps({"scheme": "ed25519", "secret": secret.hex()}) + "\n"}


def token_secret_data(random: bytes) -> dict[str, str]:
    """What goes into the Secret of a network's token."""
    return {TOKEN_FILE: random.hex()}


def read_token(secret: Mapping[str, Any]) -> str:
    """The token in a Secret of the API server.

    Raises:
        InvalidField: it does not hold one.
    """
    try:
        token = base64.b64decode(secret["data"][TOKEN_FILE]).decode().strip()
    except (KeyError, TypeError, ValueError) as e:
        raise InvalidField(field=_name(secret), problem=f"has no {TOKEN_FILE} that can be read") from e
    if not token:
        raise InvalidField(field=_name(secret), problem=f"{TOKEN_FILE} is empty")
    return token


def read_node_keys(secret: Mapping[str, Any]) -> NodeKeys:
    """The identity in a Secret of the API server.

    Raises:
        InvalidField: it does not hold one.
    """
    document = _document(secret, KEYS_FILE)
    try:
        return NodeKeys(
            name=str(document["name"]),
            bls_secret=_bytes32(document["blsSecret"]),
            capability_secret=_bytes32(document["capabilitySecret"]),
        )
    except (KeyError, TypeError, ValueError) as e:
        raise InvalidField(field=_name(secret), problem=f"{KEYS_FILE} is not a node's keys ({type(e).__name__})") from e


def read_wallet(secret: Mapping[str, Any]) -> bytes:
    """The account's secret key in a Secret of the API server.

    Raises:
        InvalidField: it does not hold one.
    """
    try:
        return _bytes32(_document(secret, WALLET_FILE)["secret"])
    except (KeyError, TypeError, ValueError) as e:
        raise InvalidField(field=_name(secret), problem=f"{WALLET_FILE} is not a wallet ({type(e).__name__})") from e


def address_of(secret: bytes) -> Address:
    """The address of an account's secret key."""
    return ed25519.address_of(ed25519.public_key(secret))


def _document(secret: Mapping[str, Any], file: str) -> dict[str, Any]:
    try:
        document = json.loads(base64.b64decode(secret["data"][file]))
    except (KeyError, TypeError, ValueError) as e:
        raise InvalidField(field=_name(secret), problem=f"has no {file} that can be read") from e
    if not isinstance(document, dict):
        raise InvalidField(field=_name(secret), problem=f"{file} is not a JSON object")
    return document


def _bytes32(text: object) -> bytes:
    value = bytes.fromhex(str(text))
    if len(value) != 32:
        raise ValueError(f"{len(value)} bytes")
    return value


def _name(secret: Mapping[str, Any]) -> str:
    return f"secret/{secret.get('metadata', {}).get('name', '?')}"
