"""Before the operator goes: its custom resources go too, and nothing waits for an operator that is not there.

Volumes, identities, the treasury and genesis stay: a new installation under the same names takes them up again.
"""

from __future__ import annotations

from haulout.observability.logs import get_logger
from haulout_operator.kube import Kube, Manifest, ObjectMissing
from haulout_operator.models.base import API_VERSION

# Networks first: an operator that still runs makes nothing for a network that is being deleted.
KINDS = ("StorageNetwork", "StorageNodePool", "StorageNode", "EpochTransition")

log = get_logger("operator")


async def uninstall(kube: Kube, namespace: str) -> None:
    """Delete all custom resources of a namespace and strip their finalizers.

    Raises:
        HauloutError: the API server refuses it, or does not answer.
    """
    for kind in KINDS:
        for body in await kube.list(API_VERSION, kind, namespace):
            name = body["metadata"]["name"]
            await kube.delete(API_VERSION, kind, namespace, name)
            log.info("deleted", kind=kind, name=name)
    for kind in ("StorageNode", "StorageNetwork"):
        for body in await kube.list(API_VERSION, kind, namespace):
            if body["metadata"].get("finalizers"):
                patch: Manifest = {"metadata": {"finalizers": []}}
                try:
                    await kube.patch(API_VERSION, kind, namespace, body["metadata"]["name"], patch)
                except ObjectMissing:
                    continue  # the operator let go of it meanwhile
