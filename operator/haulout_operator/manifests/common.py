"""What all children share: metadata, owner references, and a Pod that passes the `restricted` standard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from haulout.observability.tracing import variables_for
from haulout_operator.models.base import API_VERSION, Resources
from haulout_operator.models.network import StorageNetworkSpec
from haulout_operator.names import CONTENT_ANNOTATION, METRICS_PORT, genesis_name

Manifest = dict[str, Any]

USER_ID = 65532
DATA = "/data"
GENESIS_FOLDER = "/etc/haulout/genesis"
KERNELS_IN_IMAGE = "/opt/kernels"
KERNELS = "/kernels"


@dataclass(frozen=True, slots=True)
class Owner:
    """The custom resource that a child goes away with."""

    kind: str
    name: str
    uid: str

    def reference(self) -> Manifest:
        return {
            "apiVersion": API_VERSION,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


@dataclass(frozen=True, slots=True)
class Place:
    """Where a network lives and what it is made with."""

    namespace: str
    network: str
    spec: StorageNetworkSpec
    default_image: str
    control_address: str = ""  # of the operator; empty when it serves no control

    @property
    def image(self) -> str:
        return self.spec.image or self.default_image


def build_object(
    api_version: str,
    kind: str,
    *,
    name: str,
    place: Place,
    labels: Mapping[str, str],
    owner: Owner | None,
    body: Mapping[str, Any],
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """A whole manifest; its content annotation tells later what was applied last.

    Args:
        owner: None for what outlives its maker: volumes, identities, genesis.
    """
    metadata: Manifest = {"name": name, "namespace": place.namespace, "labels": dict(labels)}
    if owner is not None:
        metadata["ownerReferences"] = [owner.reference()]
    metadata["annotations"] = {**(annotations or {}), CONTENT_ANNOTATION: digest_of([metadata, body])}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def digest_of(value: Any) -> str:
    """A short digest of a JSON value."""
    return blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Process:
    """One container of ours: its command, environment, ports and files."""

    role: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ports: Mapping[str, int]
    resources: Resources
    image: str = ""  # in place of the network's
    extra_environment: Sequence[Manifest] = ()  # of people; in place of ours where both name one
    volumes: Sequence[Manifest] = ()
    mounts: Sequence[Manifest] = ()
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # variable -> Secret and key
    needs_kernels: bool = False
    first: Sequence[Manifest] = ()  # init containers
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Manifest] = ()
    affinity: Mapping[str, Any] | None = None
    spread_constraints: Sequence[Mapping[str, Any]] = ()  # in place of those over zones and machines
    priority_class_name: str | None = None


def build_pod_spec(place: Place, process: Process, *, spread: Mapping[str, str] | None = None) -> Manifest:
    """A Pod specification under the `restricted` standard: no API token, no root, no writable root file system.

    Args:
        spread: labels of the Pods that should not share a machine or zone with this one.
    """
    environment = {
        "HAULOUT_GENESIS": f"{GENESIS_FOLDER}/genesis.json",
        "HAULOUT_METRICS": f"0.0.0.0:{METRICS_PORT}",
        "HAULOUT_LOG_FORMAT": "json",
        "HAULOUT_ALLOW_PLAINTEXT": "1",
        "HOME": "/tmp",
        **({"NUMBA_CACHE_DIR": KERNELS} if process.needs_kernels else {}),
        **_tracing_environment(place),
        **process.environment,
    }
    own = {one["name"] for one in process.extra_environment}
    mounts = [
        {"name": "genesis", "mountPath": GENESIS_FOLDER, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        *process.mounts,
    ]
    volumes = [
        {"name": "genesis", "configMap": {"name": genesis_name(place.network)}},
        {"name": "tmp", "emptyDir": {}},
        *process.volumes,
    ]
    if process.needs_kernels:
        mounts.append({"name": "kernels", "mountPath": KERNELS})
        volumes.append({"name": "kernels", "emptyDir": {}})
    ports = {**process.ports, "metrics": METRICS_PORT}
    container: Manifest = {
        "name": process.role,
        "image": process.image or place.image,
        "imagePullPolicy": place.spec.image_pull_policy,
        "command": list(process.command),
        "env": [
            *({"name": name, "value": value} for name, value in sorted(environment.items()) if name not in own),
            *({"name": name, "valueFrom": _of_secret(*where)} for name, where in sorted(process.secrets.items())),
            *process.extra_environment,
        ],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()],
        "resources": process.resources.model_dump(),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # read by `pods`
        "volumeMounts": mounts,
        "startupProbe": probe("/healthz", period_s=1, failures=180),
        "livenessProbe": probe("/healthz", period_s=10, failures=6),
        "readinessProbe": probe("/readyz", period_s=3, failures=2),
    }
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 40,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": volumes,
    }
    first = [build_kernels_container(place, process)] if process.needs_kernels else []
    if first or process.first:
        spec["initContainers"] = [*first, *process.first]
    if place.spec.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in place.spec.image_pull_secrets]
    if process.node_selector:
        spec["nodeSelector"] = dict(process.node_selector)
    if process.tolerations:
        spec["tolerations"] = list(process.tolerations)
    if process.affinity:
        spec["affinity"] = dict(process.affinity)
    if process.priority_class_name:
        spec["priorityClassName"] = process.priority_class_name
    if process.spread_constraints:
        spec["topologySpreadConstraints"] = [dict(one) for one in process.spread_constraints]
    elif spread:
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(spread)},
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ]
    return spec


def _tracing_environment(place: Place) -> dict[str, str]:
    """The standard variables of OpenTelemetry, where traces are collected."""
    spec = place.spec.tracing
    if not spec.endpoint:
        return {}
    return {
        **variables_for(spec.endpoint),
        "OTEL_RESOURCE_ATTRIBUTES": f"k8s.namespace.name={place.namespace},haulout.network={place.network}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(spec.sample_percent / 100),
    }


def _of_secret(secret: str, key: str) -> Manifest:
    return {"secretKeyRef": {"name": secret, "key": key}}


def build_kernels_container(place: Place, process: Process) -> Manifest:
    """Copies the kernels that were compiled into the image to where the process may add its own."""
    return {
        "name": "kernels",
        "image": process.image or place.image,
        "imagePullPolicy": place.spec.image_pull_policy,
        "command": ["cp", "-r", f"{KERNELS_IN_IMAGE}/.", KERNELS],
        "resources": process.resources.model_dump(),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",  # read by `pods`
        "volumeMounts": [{"name": "kernels", "mountPath": KERNELS}],
    }


def pod_security() -> Manifest:
    """Who the processes of a Pod are."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Manifest:
    """What a container may not do."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def probe(path: str, *, period_s: int, failures: int) -> Manifest:
    """An HTTP probe of the port where health is told."""
    return {
        "httpGet": {"path": path, "port": "metrics", "scheme": "HTTP"},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def build_claim(name: str, place: Place, labels: Mapping[str, str], size: str, storage_class: str | None) -> Manifest:
    """A volume claim that nothing deletes but the operator, with proof."""
    body: Manifest = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    if storage_class is not None:
        body["storageClassName"] = storage_class
    return build_object(
        "v1", "PersistentVolumeClaim", name=name, place=place, labels=labels, owner=None, body={"spec": body}
    )


def build_service(
    name: str,
    place: Place,
    labels: Mapping[str, str],
    selector: Mapping[str, str],
    ports: Mapping[str, int],
    owner: Owner,
    *,
    unready_too: bool = False,
) -> Manifest:
    """A ClusterIP Service with stable name and address."""
    body: Manifest = {
        "type": "ClusterIP",
        "selector": dict(selector),
        "ports": [{"name": name, "port": port, "targetPort": name, "protocol": "TCP"} for name, port in ports.items()],
    }
    if unready_too:
        body["publishNotReadyAddresses"] = True
    return build_object("v1", "Service", name=name, place=place, labels=labels, owner=owner, body={"spec": body})


def secret_volume(name: str, secret: str) -> Manifest:
    """A Secret as files that the process's group may read and nobody else."""
    return {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440}}


def claim_volume(name: str, claim: str) -> Manifest:
    """A volume claim as a folder."""
    return {"name": name, "persistentVolumeClaim": {"claimName": claim}}


@dataclass(frozen=True, slots=True)
class PodExtras:
    """What people add to the metadata of Pods."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


NO_EXTRAS = PodExtras()


def build_pod_metadata(place: Place, labels: Mapping[str, str], extras: PodExtras = NO_EXTRAS) -> Manifest:
    """Labels of a Pod, and where its metrics are for whoever looks for that in annotations; ours win."""
    annotations = dict(extras.annotations)
    if place.spec.metrics.scrape_annotations:
        annotations["prometheus.io/scrape"] = "true"
        annotations["prometheus.io/port"] = str(METRICS_PORT)
        annotations["prometheus.io/path"] = "/metrics"
    return {"labels": {**extras.labels, **labels}, **({"annotations": annotations} if annotations else {})}


def build_single(
    name: str,
    place: Place,
    labels: Mapping[str, str],
    selector: Mapping[str, str],
    pod: Manifest,
    owner: Owner,
    *,
    is_stopped: bool = False,
    extras: PodExtras = NO_EXTRAS,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """A StatefulSet of one: at most one Pod at a time, also when its machine cannot be reached; none when stopped."""
    body = {
        "replicas": 0 if is_stopped else 1,
        "serviceName": name,
        "podManagementPolicy": "Parallel",  # a template that is mended replaces a Pod that never became ready
        "selector": {"matchLabels": dict(selector)},
        "template": {"metadata": build_pod_metadata(place, labels, extras), "spec": pod},
    }
    return build_object(
        "apps/v1",
        "StatefulSet",
        name=name,
        place=place,
        labels=labels,
        owner=owner,
        body={"spec": body},
        annotations=annotations,
    )


def build_deployment(
    name: str,
    place: Place,
    labels: Mapping[str, str],
    selector: Mapping[str, str],
    pod: Manifest,
    owner: Owner,
    *,
    replicas: int,
    is_alone: bool = False,
) -> Manifest:
    """A Deployment.

    Args:
        is_alone: a Pod has something that no second one may have: the old one goes before the new one is made.
    """
    strategy = {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}} if is_alone else {}
    body = {
        "replicas": replicas,
        **strategy,
        "selector": {"matchLabels": dict(selector)},
        "template": {"metadata": build_pod_metadata(place, labels), "spec": pod},
    }
    return build_object(
        "apps/v1", "Deployment", name=name, place=place, labels=labels, owner=owner, body={"spec": body}
    )
