"""Metrics: one registry per process, handed to whoever counts something.

Every name starts with `haulout_` and ends with its unit. A label has few values that are known at start (never a
blob id or an address); create them then, so that a rate over something that has not happened yet reads 0.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge

import haulout

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

DISK_OPERATIONS = ("open", "read", "stat", "write", "sync", "commit", "checkpoint", "remove")
LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 60)


def build_registry(role: str) -> CollectorRegistry:
    """A registry that already tells what the process is and how it does (memory, CPU, open files)."""
    registry = CollectorRegistry(auto_describe=True)
    prometheus_client.ProcessCollector(namespace="haulout", registry=registry)
    text = "Version and role of this process; always 1."
    info = Gauge("haulout_build_info", text, ["version", "role"], registry=registry)
    info.labels(version=haulout.__version__, role=role).set(1)
    return registry


def count_disk_errors(registry: CollectorRegistry) -> Callable[[str], None]:
    """A counter of what the medium refused, by operation: for the `on_error` of a disk and of a store."""
    text = "Operations on files and rows that the medium refused, a full one included."
    counter = Counter("haulout_disk_errors_total", text, ["operation"], registry=registry)
    for operation in DISK_OPERATIONS:
        counter.labels(operation)
    return lambda operation: counter.labels(operation).inc()


def show_disk(registry: CollectorRegistry, folder: Path) -> None:
    """Add how full the file system under `folder` is; the folder is made when it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    free = Gauge("haulout_disk_free_bytes", "Bytes that can still be written to the disk.", registry=registry)
    free.set_function(lambda: shutil.disk_usage(folder).free)
    size = Gauge("haulout_disk_size_bytes", "Size of the disk.", registry=registry)
    size.set_function(lambda: shutil.disk_usage(folder).total)
