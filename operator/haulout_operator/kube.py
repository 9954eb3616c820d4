"""The API server: the one file that knows the Kubernetes client.

Every call runs in a thread with a time limit, so that the event loop never waits. Objects travel as plain dicts.
Errors become ours here: `ObjectConflict`, `ObjectMissing`, `ManifestRefused`, `AccessRefused` and
`ApiServerUnavailable` say what a round does next.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import kubernetes
import urllib3
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError, ResourceNotFoundError
from prometheus_client import CollectorRegistry, Counter

from haulout.errors import Forbidden, HauloutError, InvalidInput, NotFound, Rejected, Unavailable
from haulout_operator.names import FIELD_MANAGER

TIMEOUT_S = (3.05, 20)
PAGE = 250

Manifest = dict[str, Any]
T = TypeVar("T")


@dataclass(eq=False)
class ApiServerUnavailable(Unavailable):
    """The API server did not answer, or asked to come back later."""

    code = "API_SERVER_UNAVAILABLE"
    template = "the API server: {problem}"
    hint = "tried again in the next round"
    problem: str


@dataclass(eq=False)
class ObjectMissing(NotFound):
    """The object is not there."""

    code = "OBJECT_MISSING"
    template = "{what} is not there"
    what: str


@dataclass(eq=False)
class ObjectConflict(Rejected):
    """The object exists already, or is another one by now."""

    code = "OBJECT_CONFLICT"
    template = "{what}: {problem}"
    what: str
    problem: str


@dataclass(eq=False)
class ManifestRefused(InvalidInput):
    """The API server refuses the object: a schema or a policy."""

    code = "MANIFEST_REFUSED"
    template = "{what} is refused ({status}): {problem}"
    what: str
    status: int
    problem: str


@dataclass(eq=False)
class AccessRefused(Forbidden):
    """The API server knows us and says no: a permission, a quota, or a namespace that is ending."""

    code = "ACCESS_REFUSED"
    template = "{what} is refused ({status}): {problem}"
    what: str
    status: int
    problem: str


class Kube:
    """Reads and writes of one namespace."""

    def __init__(self, client: Any, scratch: Path, registry: CollectorRegistry) -> None:
        """Over an `ApiClient`; discovery is remembered in a file below `scratch`."""
        self._client = client
        self._scratch = scratch
        self._dynamic: Any = None
        self._lock = asyncio.Lock()
        self._requests = Counter(
            "haulout_operator_api_requests", "Requests to the API server.", ["verb", "outcome"], registry=registry
        )

    @classmethod
    def of_cluster(cls, scratch: Path, registry: CollectorRegistry) -> Kube:
        """In a Pod by its service account, elsewhere by the user's kubeconfig."""
        configuration = kubernetes.client.Configuration()
        try:
            kubernetes.config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except kubernetes.config.ConfigException:
            kubernetes.config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        configuration.retries = False
        return cls(kubernetes.client.ApiClient(configuration), scratch, registry)

    async def list(
        self, api_version: str, kind: str, namespace: str, *, selector: str = "", fields: str = ""
    ) -> Sequence[Manifest]:
        """All objects of a kind in a namespace, page by page; those with some labels, or with some values of fields."""

        def work(resource: Any) -> list[Manifest]:
            items: list[Manifest] = []
            token = None
            while True:
                page = self._get(resource, namespace, selector, fields, token)
                items += page.get("items") or []
                token = (page.get("metadata") or {}).get("continue")
                if not token:
                    return items

        found = await self._call("list", f"list of {kind}", api_version, kind, work)
        for item in found:  # lists leave out what all items share
            item.setdefault("apiVersion", api_version)
            item.setdefault("kind", kind)
        return found

    def _get(self, resource: Any, namespace: str, selector: str, fields: str, token: str | None) -> Manifest:
        more = {"_continue": token} if token else {}
        if fields:
            more["field_selector"] = fields
        answer = resource.get(
            namespace=namespace, label_selector=selector or None, limit=PAGE, _request_timeout=TIMEOUT_S, **more
        )
        page: Manifest = answer.to_dict()
        return page

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object, or None."""

        def work(resource: Any) -> Manifest:
            body: Manifest = resource.get(namespace=namespace, name=name, _request_timeout=TIMEOUT_S).to_dict()
            return body

        try:
            return await self._call("get", f"{kind}/{name}", api_version, kind, work)
        except ObjectMissing:
            return None

    async def create(self, body: Manifest) -> Manifest:
        """Make an object.

        Raises:
            ObjectConflict: it exists.
        """

        def work(resource: Any) -> Manifest:
            made: Manifest = resource.create(
                body=body,
                namespace=body["metadata"].get("namespace"),
                field_manager=FIELD_MANAGER,
                _request_timeout=TIMEOUT_S,
            ).to_dict()
            return made

        return await self._call("create", what_is(body), body["apiVersion"], body["kind"], work)

    async def review(self, body: Manifest) -> Manifest:
        """Have the API server judge something, as a TokenReview does; nothing is kept of it."""

        def work(resource: Any) -> Manifest:
            judged: Manifest = resource.create(body=body, _request_timeout=TIMEOUT_S).to_dict()
            return judged

        return await self._call("review", body["kind"], body["apiVersion"], body["kind"], work)

    async def apply(self, body: Manifest, *, manager: str = FIELD_MANAGER) -> Manifest:
        """Server-side apply: what is no longer in the body, and was ours, goes."""

        def work(resource: Any) -> Manifest:
            return self._server_side_apply(resource, body, manager)

        return await self._call("apply", what_is(body), body["apiVersion"], body["kind"], work)

    async def apply_status(self, body: Manifest) -> Manifest:
        """Server-side apply of the status."""

        def work(resource: Any) -> Manifest:
            return self._server_side_apply(resource.status, body, FIELD_MANAGER)

        return await self._call("status", what_is(body), body["apiVersion"], body["kind"], work)

    def _server_side_apply(self, resource: Any, body: Manifest, manager: str) -> Manifest:
        applied: Manifest = self._dynamic.server_side_apply(
            resource,
            body=body,
            name=body["metadata"]["name"],
            namespace=body["metadata"].get("namespace"),
            field_manager=manager,
            force_conflicts=True,
            _request_timeout=TIMEOUT_S,
        ).to_dict()
        return applied

    async def patch(self, api_version: str, kind: str, namespace: str, name: str, patch: Mapping[str, Any]) -> None:
        """Merge-patch of an object; a `resourceVersion` in it must still be the object's."""

        def work(resource: Any) -> None:
            resource.patch(
                body=patch,
                name=name,
                namespace=namespace,
                content_type="application/merge-patch+json",
                field_manager=FIELD_MANAGER,
                _request_timeout=TIMEOUT_S,
            )

        await self._call("patch", f"{kind}/{name}", api_version, kind, work)

    async def delete(self, api_version: str, kind: str, namespace: str, name: str, *, uid: str = "") -> None:
        """Delete an object, if it is still the one with this uid; one that is gone is fine."""
        body: Manifest = {"propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}

        def work(resource: Any) -> None:
            resource.delete(name=name, namespace=namespace, body=body, _request_timeout=TIMEOUT_S)

        try:
            await self._call("delete", f"{kind}/{name}", api_version, kind, work)
        except ObjectMissing:
            return

    async def _call(self, verb: str, what: str, api_version: str, kind: str, work: Callable[[Any], T]) -> T:
        outcome = "failed"
        try:
            async with self._lock:
                if self._dynamic is None:
                    self._dynamic = await asyncio.to_thread(self._discover)
            resource = await asyncio.to_thread(self._find, api_version, kind)
            answer = await asyncio.to_thread(work, resource)
            outcome = "ok"
            return answer
        except (ApiException, DynamicApiError) as e:
            error = read_error(what, e)
            outcome = error.code.lower()
            raise error from e
        except ResourceNotFoundError as e:
            problem = f"it does not know {kind} of {api_version}; are the custom resource definitions installed?"
            raise ApiServerUnavailable(problem=problem) from e
        except (AttributeError, KeyError, ValueError) as e:  # a proxy's page, for example
            problem = f"no answer of an API server: {verb}, {what} ({type(e).__name__})"
            raise ApiServerUnavailable(problem=problem) from e
        except (urllib3.exceptions.HTTPError, OSError) as e:
            raise ApiServerUnavailable(problem=f"{type(e).__name__} at {verb} of {what}") from e
        finally:
            self._requests.labels(verb=verb, outcome=outcome).inc()

    def _discover(self) -> Any:
        return DynamicClient(self._client, cache_file=str(self._scratch / "discovery.json"))  # type: ignore[no-untyped-call]

    def _find(self, api_version: str, kind: str) -> Any:
        try:
            return self._dynamic.resources.get(api_version=api_version, kind=kind)
        except ResourceNotFoundError:
            self._dynamic.resources.invalidate_cache()  # made after we looked last
            return self._dynamic.resources.get(api_version=api_version, kind=kind)


def what_is(body: Manifest) -> str:
    """An object as people name it."""
    return f"{body['kind']}/{body['metadata']['name']}"


def read_error(what: str, error: Any) -> HauloutError:
    """Our error for the API server's."""
    status, problem = int(error.status or 0), _message(error)
    if status == 404:
        return ObjectMissing(what=what)
    if status == 409:
        return ObjectConflict(what=what, problem=problem)
    if status in (401, 403):
        return AccessRefused(what=what, status=status, problem=problem)
    if status in (400, 405, 413, 415, 422) or "failed to create typed patch object" in problem:  # the latter with 500
        return ManifestRefused(what=what, status=status, problem=problem)
    return ApiServerUnavailable(problem=f"{status} at {what}: {problem}")


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])[:2000]
    except (KeyError, TypeError, ValueError):
        return str(error.reason)[:2000]
