"""Which objects have not become what they should be for a while, though nobody meant them not to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

STUCK_AFTER_MS = 600_000
KINDS = ("StorageNetwork", "StorageNodePool", "StorageNode")
# Somebody works on the node; or it is the nodes that are not ready, which count themselves.
EXPECTED = frozenset(("Maintenance", "NodesNotReady"))


def is_stuck(status: Mapping[str, Any], *, now_ms: int) -> bool:
    """Whether a status has not been Ready for ten minutes; one that is on its way out takes the time that it takes."""
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    ready = conditions.get("Ready")
    if ready is None or ready["status"] != "False" or ready["reason"] in EXPECTED or "Drained" in conditions:
        return False
    since = datetime.strptime(ready["lastTransitionTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return now_ms - int(since.timestamp() * 1000) >= STUCK_AFTER_MS
