"""kopf's part: it watches, and every event asks for a round of the network it belongs to. Nothing else happens here.

No handler changes an object, so kopf leaves no annotations and no finalizers of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kopf

from haulout_operator.models.base import GROUP, VERSION
from haulout_operator.names import NETWORK_LABEL

OWN = ("storagenodepools", "storagenodes", "epochtransitions")
CHILDREN = (
    ("", "v1", "pods"),
    ("", "v1", "persistentvolumeclaims"),
    ("", "v1", "services"),
    ("apps", "v1", "statefulsets"),
    ("apps", "v1", "deployments"),
    ("policy", "v1", "poddisruptionbudgets"),
)

Wake = Callable[[str], None]


def build_registry(wake: Wake) -> kopf.OperatorRegistry:
    """Handlers that call `wake` with the name of a network."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry, id="login")
    def login(**kwargs: Any) -> Any:
        return kopf.login_via_client(**kwargs)

    @kopf.on.event(GROUP, VERSION, "storagenetworks", registry=registry, id="network")
    async def network_changed(name: str, **_: Any) -> None:
        wake(name)

    async def resource_changed(body: kopf.Body, **_: Any) -> None:
        spec = body.get("spec") or {}
        wake(str((spec.get("networkRef") or {}).get("name", "")))

    async def child_changed(labels: kopf.Labels, **_: Any) -> None:
        wake(labels.get(NETWORK_LABEL, ""))

    for plural in OWN:
        kopf.on.event(GROUP, VERSION, plural, registry=registry, id=plural)(resource_changed)
    for group, version, plural in CHILDREN:
        kopf.on.event(group, version, plural, registry=registry, id=plural, labels={NETWORK_LABEL: kopf.PRESENT})(
            child_changed
        )
    return registry


def build_settings() -> kopf.OperatorSettings:
    """Settings for a namespaced operator that patches nothing through kopf."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.persistence.finalizer = f"{GROUP}/kopf"
    settings.queueing.error_delays = [1, 2, 5, 10, 30, 60]
    return settings
