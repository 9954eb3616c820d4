"""An API server over HTTP: kmock's discovery and scripts before the objects of a `FakeKube`.

What a test scripts comes before what the objects say, so that the operator meets refusals, gaps and old answers as its
client does; nothing of the operator or of its client is replaced. Reactions stand at the root and pass on what is not
theirs (`NotImplementedError`): kmock tries a filter on every request that there ever was, of which there are hundreds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import kmock
import kubernetes
from prometheus_client import CollectorRegistry

from haulout.errors import HauloutError
from haulout_operator.kube import AccessRefused, Kube, ManifestRefused, ObjectConflict, ObjectMissing
from haulout_operator.models.base import API_VERSION
from tests.unit.haulout_operator.fake_kube import NAMESPACE, FakeKube, copied

KINDS = {
    f"{API_VERSION}/storagenetworks": "StorageNetwork",
    f"{API_VERSION}/storagenodepools": "StorageNodePool",
    f"{API_VERSION}/storagenodes": "StorageNode",
    f"{API_VERSION}/epochtransitions": "EpochTransition",
    "v1/namespaces": "Namespace",
    "v1/nodes": "Node",
    "v1/pods": "Pod",
    "v1/persistentvolumeclaims": "PersistentVolumeClaim",
    "v1/services": "Service",
    "v1/configmaps": "ConfigMap",
    "v1/secrets": "Secret",
    "v1/events": "Event",
    "apiextensions.k8s.io/v1/customresourcedefinitions": "CustomResourceDefinition",
    "apps/v1/statefulsets": "StatefulSet",
    "apps/v1/deployments": "Deployment",
    "policy/v1/poddisruptionbudgets": "PodDisruptionBudget",
    "networking.k8s.io/v1/networkpolicies": "NetworkPolicy",
}
OF_NO_NAMESPACE = ("Namespace", "Node", "CustomResourceDefinition")
VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
STATUSES = {ObjectMissing: 404, ObjectConflict: 409, ManifestRefused: 422, AccessRefused: 403}


def new_api() -> kmock.KubernetesScaffold:
    """One that knows our kinds, and has no answer to anything else yet."""
    api = kmock.KubernetesScaffold()
    for path, kind in KINDS.items():
        declare(api, path, kind)
    return api


def declare(api: kmock.KubernetesScaffold, path: str, kind: str) -> None:
    """Make a kind known, by group, version and plural."""
    api.resources[path] = kmock.ResourceInfo(
        kind=kind,
        singular=path.rpartition("/")[2],
        namespaced=kind not in OF_NO_NAMESPACE,
        verbs=VERBS,
        subresources=["status"],
    )


def refusal(status: int, message: str) -> kmock.KubernetesError:
    """What an API server says when it says no."""
    return kmock.KubernetesError(status=status, message=message, details={})


def script(
    api: kmock.KubernetesScaffold, applies: Callable[[kmock.Request], bool], answer: kmock.Payload
) -> list[kmock.Request]:
    """Give this answer wherever it applies; returns the requests that got it, as they come."""
    met: list[kmock.Request] = []

    def react(request: kmock.Request) -> kmock.Payload:
        if not applies(request):
            raise NotImplementedError
        met.append(request)
        return answer

    api.override << react
    return met


def hang_up(request: kmock.Request) -> bytes:
    """The connection is gone before there is an answer."""
    assert request._raw_request is not None and request._raw_request.transport is not None
    request._raw_request.transport.abort()
    return b""


@contextlib.asynccontextmanager
async def served(api: kmock.KubernetesScaffold, scratch: Path) -> AsyncIterator[Kube]:
    """The operator's own client of an API server, for as long as that is served."""
    async with api, kmock.Server(api) as server:
        configuration = kubernetes.client.Configuration()
        configuration.host = str(server.url).rstrip("/")
        configuration.retries = False
        client = kubernetes.client.ApiClient(configuration)
        yield Kube(client, scratch, CollectorRegistry())
        client.rest_client.pool_manager.clear()


class Objects:
    """Answers from a `FakeKube`; what is read may be from another, earlier one."""

    def __init__(self, kube: FakeKube, api: kmock.KubernetesScaffold) -> None:
        self.kube = kube
        self.earlier = kube  # a cache that lags behind
        self.stale: set[str] = set()  # kinds that are read from there
        self.watched: list[str] = []  # kinds, one for each watch that is open
        self.n_watches = self.n_too_old = 0  # that were opened; that were told to list anew
        self._n_hang_ups = self._forgotten = 0
        api << self.answer

    def fall_behind(self, *kinds: str) -> None:
        """From now on these kinds are read as they are at this moment."""
        self.earlier = FakeKube()
        self.earlier.objects = {key: copied(body) for key, body in self.kube.objects.items()}
        self.stale = set(kinds)

    def catch_up(self) -> None:
        """Reads tell what is."""
        self.stale = set()

    def hang_up(self) -> None:
        """End every watch: what comes from now on, none of them tells."""
        self._n_hang_ups += 1

    def forget(self) -> None:
        """Who watches on from a version before this one is told that it is too old, and lists anew."""
        self._forgotten = self._version()

    def _version(self) -> int:
        return max(version_of(body) for body in self.kube.objects.values())

    async def answer(self, request: kmock.Request) -> Any:
        """What the objects say."""
        kind = kind_of(request)
        if kind is None or request.action is None:
            raise NotImplementedError  # discovery
        if request.action == kmock.action.WATCH:
            return self._watch(kind, int(request.params["resourceVersion"]))
        try:
            return await self._answer(request, kind)
        except HauloutError as e:
            raise refusal(STATUSES[type(e)], str(e)) from e

    async def _watch(self, kind: str, since: int) -> AsyncIterator[Any]:
        n_hang_ups = self._n_hang_ups
        yield b""
        if since < self._forgotten:
            self.n_too_old += 1
            yield {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version"}}
            return
        self.n_watches += 1
        self.watched.append(kind)
        try:
            while self._n_hang_ups == n_hang_ups:
                bodies = [body for (its_kind, _), body in self.kube.objects.items() if its_kind == kind]
                for body in sorted(bodies, key=version_of):
                    if version_of(body) > since:
                        since = version_of(body)
                        yield {"type": "MODIFIED", "object": copied(body)}
                await asyncio.sleep(0.01)
        finally:
            self.watched.remove(kind)

    async def _answer(self, request: kmock.Request, kind: str) -> dict[str, Any]:
        name, body = str(request.name), request.data
        read = self.earlier if kind in self.stale else self.kube
        match request.action:
            case kmock.action.LIST:
                items = await read.list("", kind, NAMESPACE, selector=request.params.get("labelSelector", ""))
                metadata = {"resourceVersion": str(self._version())}
                return {"kind": f"{kind}List", "apiVersion": "v1", "metadata": metadata, "items": items}
            case kmock.action.FETCH:
                found = await read.get("", kind, NAMESPACE, name)
                if found is None:
                    raise ObjectMissing(what=f"{kind}/{name}")
                return found
            case kmock.action.CREATE:
                return await self.kube.create(body)
            case kmock.action.UPDATE if "apply-patch" in request.headers["Content-Type"]:
                if request.subresource == "status":
                    return await self.kube.apply_status(body)
                return await self.kube.apply(body, manager=request.params["fieldManager"])
            case kmock.action.UPDATE:
                await self.kube.patch("", kind, NAMESPACE, name, body)
                return self.kube.objects.get((kind, name), {})
            case kmock.action.DELETE:
                live = self.kube.objects.get((kind, name))
                if live is None:
                    raise ObjectMissing(what=f"{kind}/{name}")
                uid = (body.get("preconditions") or {}).get("uid", live["metadata"]["uid"])
                if uid != live["metadata"]["uid"]:
                    raise ObjectConflict(what=f"{kind}/{name}", problem="the UID in the precondition does not match")
                await self.kube.delete("", kind, NAMESPACE, name)
                return {"kind": "Status", "status": "Success"}
        raise AssertionError(f"nobody asks for that: {request}")


def version_of(body: dict[str, Any]) -> int:
    """When an object was changed last, as a number that grows."""
    return int(body["metadata"]["resourceVersion"])


def kind_of(request: kmock.Request) -> str | None:
    """The kind that a request is about, of those that we know."""
    where = request.resource
    if where is None or where.plural is None:
        return None
    return KINDS.get("/".join(part for part in (where.group, where.version, where.plural) if part))
