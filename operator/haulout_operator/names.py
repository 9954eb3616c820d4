"""Names and labels of everything the operator makes.

A node is called after its pool and a digest of the pool's UID and a serial number: stable, short, and never used twice.
Two operators that count the same nodes choose the same next name, so the second one's creation is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from haulout_operator.models.base import GROUP

FIELD_MANAGER = "haulout-operator"
EPOCHS_COMPONENT = "haulout-epochs"  # the Pod of an epoch controller of its own, as the chart labels it

NETWORK_LABEL = f"{GROUP}/network"
POOL_LABEL = f"{GROUP}/pool"
NODE_LABEL = f"{GROUP}/node"
SERIAL_LABEL = f"{GROUP}/serial"
ROLE_LABEL = f"{GROUP}/role"
RELEASED_LABEL = f"{GROUP}/released"
ZONE_LABEL = "topology.kubernetes.io/zone"
MANAGED_BY = {"app.kubernetes.io/managed-by": FIELD_MANAGER}

FINALIZER = f"{GROUP}/safe-removal"
PAUSED_ANNOTATION = f"{GROUP}/paused"
FORCE_REMOVE_ANNOTATION = f"{GROUP}/force-remove"
LEAVING_ANNOTATION = f"{GROUP}/leaving"
ADVANCE_ANNOTATION = f"{GROUP}/advance-epoch"
ACTIVATE_ANNOTATION = f"{GROUP}/activate-protocol"
CONTENT_ANNOTATION = f"{GROUP}/content"
REVISION_ANNOTATION = f"{GROUP}/revision"

GRPC_PORT = 9000
HTTP_PORT = 8080
METRICS_PORT = 9090

SUFFIX_LENGTH = 4


def node_name(pool: str, pool_uid: str, serial: int) -> str:
    """The name of the pool's node with this serial number."""
    digest = blake2b(f"{pool_uid}/{serial}".encode(), digest_size=10).digest()
    return f"{pool}-{base64.b32encode(digest).decode().lower()[:SUFFIX_LENGTH]}"


def next_serial(taken: Iterable[int]) -> int:
    """One more than the highest that was ever used."""
    return max(taken, default=-1) + 1


def genesis_name(network: str) -> str:
    """ConfigMap with the genesis document."""
    return f"{network}-genesis"


def treasury_name(network: str) -> str:
    """Secret of the account that owns the stakes and governs the nodes."""
    return f"{network}-treasury"


def restore_name(network: str) -> str:
    """ConfigMap that tells a ledger whose volume was lost which nodes to restore it from."""
    return f"{network}-restore"


def control_name(network: str) -> str:
    """Secret with the token that controls the network."""
    return f"{network}-control"


def component_name(network: str, role: str) -> str:
    """Workload, Service and Secret of a role that a network has once."""
    return f"{network}-{role}"


def keys_name(node: str) -> str:
    """Secret with a node's keys."""
    return f"{node}-keys"


def volume_name(node: str) -> str:
    """Volume claim of a node or of the ledger."""
    return f"{node}-data"


def node_address(node: str, namespace: str) -> str:
    """Where a node is reached for its whole life, as the ledger has it; needs no cluster domain."""
    return f"{node}.{namespace}.svc:{GRPC_PORT}"


def ledger_address(network: str, namespace: str) -> str:
    """Where the ledger is reached."""
    return f"{component_name(network, 'ledger')}.{namespace}.svc:{GRPC_PORT}"


def labels_of(network: str, role: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Labels of every child: what it is, and whose."""
    return {
        "app.kubernetes.io/name": "haulout",
        "app.kubernetes.io/component": role,
        "app.kubernetes.io/instance": network,
        **MANAGED_BY,
        NETWORK_LABEL: network,
        ROLE_LABEL: role,
        **(extra or {}),
    }


def node_labels(network: str, pool: str, node: str, serial: int) -> dict[str, str]:
    """Labels of a node's children."""
    return labels_of(network, "node", {POOL_LABEL: pool, NODE_LABEL: node, SERIAL_LABEL: str(serial)})
