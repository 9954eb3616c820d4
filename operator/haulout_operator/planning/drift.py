"""Whether a child is as it was meant: applied last with this content, and nobody changed it since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haulout_operator.manifests.common import Manifest
from haulout_operator.names import CONTENT_ANNOTATION
from haulout_operator.observed import annotations_of
from haulout_operator.quantities import find_amount

AMOUNTS = ("requests", "limits")


def needs_apply(wanted: Manifest, live: Manifest | None) -> bool:
    """Whether to apply: absent, applied with other content (a field may have gone), or changed by somebody."""
    if live is None:
        return True
    if content_of(live) != content_of(wanted):
        return True
    return not contains(live, wanted)


def content_of(body: Manifest) -> str:
    """What was applied last, as a digest."""
    return annotations_of(body).get(CONTENT_ANNOTATION, "")


def same_amounts(live: Any, wanted: Any) -> bool:
    """Whether amounts of resources are those wanted: the API server writes 1000m as 1, and 1024Mi as 1Gi."""
    if not isinstance(live, Mapping) or not isinstance(wanted, Mapping):
        return contains(live, wanted)
    return all(key in live and find_amount(live[key]) == find_amount(value) for key, value in wanted.items())


def contains(live: Any, wanted: Any) -> bool:
    """Whether everything wanted stands there; the API server's own defaults beside it are no drift.

    An empty value that the API server leaves out stands there too.
    """
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            return not wanted and live is None
        return all(
            same_amounts(live.get(key), value) if key in AMOUNTS else contains(live.get(key), value)
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        if not isinstance(live, list):
            return not wanted and live is None
        return len(live) == len(wanted) and all(contains(a, b) for a, b in zip(live, wanted, strict=True))
    if live is None:
        return wanted in ("", False, None)
    return bool(live == wanted)
