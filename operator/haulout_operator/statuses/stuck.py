"""Which objects have not become what they should be for a while, though nobody meant them not to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haulout_operator.quantities import parse_time_ms

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
    return now_ms - parse_time_ms(ready["lastTransitionTime"]) >= STUCK_AFTER_MS
