"""An API server of dictionaries with the parts of Kubernetes that matter: apply, un-apply, finalizers, owners, Pods."""

from __future__ import annotations

import base64
import itertools
import pickle
from typing import Any

from pydantic import ValidationError

from haulout_operator.kube import AccessRefused, ManifestRefused, ObjectConflict, ObjectMissing
from haulout_operator.models.base import API_VERSION
from haulout_operator.models.pool import StorageNodePoolSpec

NAMESPACE = "demo"


class OperatorKilled(BaseException):
    """The operator's process ended here."""


class FakeKube:
    """The face of `kube.Kube` over dictionaries: apply and un-apply, finalizers, owners, Pods of StatefulSets."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.writes: list[str] = []
        self.kill_after = -1  # effects that the operator still has before its process ends; negative: for ever
        self.refused: set[tuple[str, str]] = set()  # (kind, name) that the API server will not take
        self.hidden: set[str] = set()  # kinds that we may not look at
        self.volumes_grow = True  # the storage class does as it is asked
        self._applied: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._count = itertools.count(1)

    # --- what the operator calls ----------------------------------------------------------------------------

    async def list(
        self, api_version: str, kind: str, namespace: str, *, selector: str = "", fields: str = ""
    ) -> list[dict[str, Any]]:
        if kind in self.hidden:
            raise AccessRefused(what=kind, status=403, problem="no permission")
        wanted = dict(part.split("=") for part in selector.split(",")) if selector else {}
        found = [body for (its_kind, _), body in sorted(self.objects.items()) if its_kind == kind]
        return [copied(body) for body in found if wanted.items() <= (labels_of(body)).items()]

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        if kind in self.hidden:
            raise AccessRefused(what=f"{kind}/{name}", status=403, problem="no permission")
        return copied(self.objects.get((kind, name)))

    async def create(self, body: dict[str, Any]) -> dict[str, Any]:
        key = key_of(body)
        self._check(key)
        if key in self.objects:
            raise ObjectConflict(what="/".join(key), problem="already exists")
        self.writes.append(f"create {'/'.join(key)}")
        made = copied(body)
        if made["kind"] == "Secret":
            text = made.pop("stringData", {})
            made["data"] = {name: base64.b64encode(value.encode()).decode() for name, value in text.items()}
        self._applied[(*key, "haulout-operator")] = copied(body)
        added = copied(self._add(made))
        self.take_effect()
        return added

    async def apply(self, body: dict[str, Any], *, manager: str = "haulout-operator") -> dict[str, Any]:
        key = key_of(body)
        self._check(key)
        self.writes.append(f"apply {'/'.join(key)}")
        before = self._applied.get((*key, manager), {})
        self._applied[(*key, manager)] = copied(body)
        live = self.objects.get(key)
        if live is None:
            added = copied(self._add(copied(body)))
            self.take_effect()
            return added
        spec = copied(live.get("spec"))
        merge(live, body, before)
        if live.get("spec") != spec:
            live["metadata"]["generation"] += 1
        self._touch(live)
        self.take_effect()
        return copied(live)

    async def apply_status(self, body: dict[str, Any]) -> dict[str, Any]:
        key = key_of(body)
        if key not in self.objects:
            raise ObjectMissing(what="/".join(key))
        self.writes.append(f"status {'/'.join(key)}")
        self.objects[key]["status"] = copied(dict(body["status"]))
        self._touch(self.objects[key])
        self.take_effect()
        return copied(self.objects[key])

    async def patch(self, api_version: str, kind: str, namespace: str, name: str, patch: dict[str, Any]) -> None:
        live = self.objects.get((kind, name))
        if live is None:
            raise ObjectMissing(what=f"{kind}/{name}")
        metadata = patch.get("metadata", {})
        version = metadata.get("resourceVersion")
        if version is not None and version != live["metadata"]["resourceVersion"]:
            raise ObjectConflict(what=f"{kind}/{name}", problem="the object has been modified")
        spec = {**live.get("spec", {}), **patch.get("spec", {})}
        if kind == "StorageNodePool" and "spec" in patch:
            try:
                StorageNodePoolSpec.model_validate(spec)
            except ValidationError as e:  # where the schema would refuse it
                raise ManifestRefused(what=f"{kind}/{name}", status=422, problem=str(e)) from e
        self.writes.append(f"patch {kind}/{name}")
        if "finalizers" in metadata:
            live["metadata"]["finalizers"] = list(metadata["finalizers"])
        live["metadata"].setdefault("annotations", {}).update(metadata.get("annotations", {}))
        live["spec"] = spec
        self._touch(live)
        self._collect()
        self.take_effect()

    async def delete(self, api_version: str, kind: str, namespace: str, name: str, *, uid: str = "") -> None:
        live = self.objects.get((kind, name))
        if live is None or (uid and live["metadata"]["uid"] != uid):
            return
        self.writes.append(f"delete {kind}/{name}")
        live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self._touch(live)
        self._collect()
        self.take_effect()

    def take_effect(self) -> None:
        """Something took effect; perhaps the last thing that this process did."""
        self.kill_after -= 1
        if self.kill_after == 0:
            raise OperatorKilled

    # --- what Kubernetes and people do ----------------------------------------------------------------------

    def add(self, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        """A person applies a custom resource."""
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}}
        return self._add({**body, "spec": spec})

    def settle(self) -> bool:
        """Controllers and kubelets: Pods for workloads, ready; none for those that are gone or stopped. Whether there
        was something for them to do."""
        before = copied(self.objects)
        self.settle_others("")
        return bool(self.objects != before)

    def settle_others(self, dead: str) -> None:
        """The same on all machines but that of one workload."""
        for (kind, name), body in list(self.objects.items()):
            if kind == "PersistentVolumeClaim" and (self.volumes_grow or "status" not in body):
                body["status"] = {"capacity": dict(body["spec"]["resources"]["requests"])}
            if kind not in ("StatefulSet", "Deployment") or name == dead:
                continue
            replicas = body["spec"]["replicas"]
            body["status"] = {"observedGeneration": body["metadata"]["generation"]}
            if not replicas:
                self.objects.pop(("Pod", f"{name}-0"), None)
                continue
            body["status"] |= {"readyReplicas": replicas, "updatedReplicas": replicas}
            key = ("Pod", f"{name}-0")
            template = body["spec"]["template"]
            if key in self.objects and self.objects[key]["spec"]["template"] == template:
                continue
            self.objects.pop(key, None)
            self._add(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {
                        "name": f"{name}-0",
                        "labels": dict(template["metadata"]["labels"]),
                        "ownerReferences": [{"kind": kind, "name": name, "uid": body["metadata"]["uid"]}],
                    },
                    "spec": {"nodeName": "n1", "template": copied(template)},
                    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
                }
            )

    def break_pod(self, node: str) -> None:
        """A node's Pod is no longer ready."""
        ready = {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "it does not answer"}
        self.objects["Pod", f"{node}-0"]["status"]["conditions"] = [ready]

    def end_process(self, workload: str, message: str, container: str = "process") -> None:
        """The process of a Pod ends and ends again; its last lines are kept."""
        ready = {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "it does not answer"}
        said = {
            "name": container,
            "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": message}},
        }
        self.objects["Pod", f"{workload}-0"]["status"] = {"conditions": [ready], "containerStatuses": [said]}
        if ("Deployment", workload) in self.objects:
            self.objects["Deployment", workload]["status"] = {}

    def names(self, kind: str) -> list[str]:
        return [name for its_kind, name in sorted(self.objects) if its_kind == kind]

    def _add(self, body: dict[str, Any]) -> dict[str, Any]:
        metadata = body["metadata"]
        metadata.setdefault("uid", f"uid-{next(self._count)}")
        metadata["generation"] = 1
        self.objects[key_of(body)] = body
        self._touch(body)
        return body

    def _touch(self, body: dict[str, Any]) -> None:
        body["metadata"]["resourceVersion"] = str(next(self._count))

    def _check(self, key: tuple[str, str]) -> None:
        if key in self.refused:
            raise ManifestRefused(what="/".join(key), status=422, problem="a policy says no")

    def _collect(self) -> None:
        """Delete what is being deleted and held by nothing, and what has lost its owner."""
        while True:
            uids = {body["metadata"]["uid"] for body in self.objects.values()}
            gone, dying = [], []
            for key, body in self.objects.items():
                metadata = body["metadata"]
                owners = metadata.get("ownerReferences") or []
                is_orphan = bool(owners) and not any(owner["uid"] in uids for owner in owners)
                if is_orphan and not metadata.get("deletionTimestamp"):
                    dying.append(body)
                if (metadata.get("deletionTimestamp") or is_orphan) and not metadata.get("finalizers"):
                    gone.append(key)
            for body in dying:
                body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            for key in gone:
                del self.objects[key]
            if not gone and not dying:
                return


def copied(body: Any) -> Any:
    """A deep copy; objects are JSON, of which this is the fastest way."""
    return pickle.loads(pickle.dumps(body, pickle.HIGHEST_PROTOCOL))


def key_of(body: dict[str, Any]) -> tuple[str, str]:
    return body["kind"], body["metadata"]["name"]


def labels_of(body: dict[str, Any]) -> dict[str, str]:
    """Labels of any object."""
    return body["metadata"].get("labels") or {}


def merge(live: dict[str, Any], wanted: dict[str, Any], before: dict[str, Any]) -> None:
    """Server-side apply: take what is wanted, drop what was wanted before and is no more."""
    for name in [name for name in before if name not in wanted]:
        live.pop(name, None)
    for name, value in wanted.items():
        if isinstance(value, dict) and isinstance(live.get(name), dict):
            merge(live[name], value, before.get(name) if isinstance(before.get(name), dict) else {})
        else:
            live[name] = copied(value)
