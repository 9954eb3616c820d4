"""Who a storage node is, and the figures it runs by."""

from __future__ import annotations

from dataclasses import dataclass, field

from haulout.node.store_layout import Layout
from haulout.primitives import ObjectId


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """A registered node and the key it signs with."""

    name: str
    node_id: ObjectId
    bls_secret: bytes = field(repr=False)
    public_key: bytes
    capability_secret: bytes | None = field(default=None, repr=False)  # signs what the node itself has to report


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Bounds and delays; times in ms, sizes in bytes."""

    registration_wait_ms: int = 1_000  # metadata may overtake the block that registers its blob
    confirm_wait_ms_max: int = 5_000
    waiting_requests_max: int = 512
    upload_batch_bytes: int = 1024 * 1024  # verified and written together
    upload_batch_slivers: int = 256
    piece_batch_bytes: int = 4 * 1024 * 1024  # the same, of slivers in stripes
    piece_sync_bytes: int = 128 * 1024 * 1024  # made durable as an upload in stripes goes on
    upload_idle_ms: int = 10_000  # an upload without confirmation is synced after this
    incomplete_page_max: int = 1_000
    reserve_bytes: int = 32 * 1024 * 1024  # free space below which uploads are refused
    symbol_requests_at_once: int = 4
    symbol_requests_waiting_max: int = 128
    symbol_cache_bytes: int = 64 * 1024 * 1024
    repair_delay_ms: int = 15_000  # a live upload may still be going on: up to 100 MiB
    repair_delay_large_ms: int = 30_000
    repair_delay_large_from_bytes: int = 100 * 1024 * 1024
    repair_blobs_at_once: int = 4
    repair_slivers_at_once: int = 4
    repair_memory_bytes: int = 128 * 1024 * 1024  # of an encoded blob that may be decoded whole
    repair_backoff_ms: int = 1_000
    repair_backoff_ms_max: int = 30_000
    peer_timeout_ms: int = 20_000
    peer_bytes_per_s_min: int = 512 * 1024  # of what is sent to one, on top of that time
    peer_backoff_ms: int = 500
    peer_backoff_ms_max: int = 30_000
    sync_slivers: int = 1_000  # of each shard and axis in one request
    sync_slivers_max: int = 100_000  # that are handed out for one
    sync_blobs_at_once: int = 8  # of one giver
    sync_batch_bytes: int = 8 * 1024 * 1024  # of one blob, verified and made durable together
    sync_bytes_at_once: int = 32 * 1024 * 1024  # in batches of all givers
    sync_givers_at_once: int = 4
    sync_bytes_per_s: int = 0  # of shards on their way here; 0 for no limit
    sync_patience_ms: int = 30_000  # without progress, until what is missing is rebuilt from the others
    sync_retry_ms: int = 500
    scrub_bytes_per_s: int = 2 * 1024 * 1024
    scrub_pause_ms: int = 5_000  # between two rounds
    file_watch_pause_ms: int = 2_000  # between two looks whether all files are there
    garbage_delay_ms: int = 60_000
    layout: Layout = field(default_factory=Layout)
