"""Rows that sum up others: blobs by id, pools, totals, what an epoch started with; and whether a certificate holds.

A summary is recomputed from the rows it sums up, once per block or batch, and so does not depend on the order or the
batches in which these came.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select, update

from graphql_api.read_model import schema as t
from graphql_api.read_model.queries import rows_by
from graphql_api.read_model.statements import find_row, insert_row, update_all, update_rows
from haulout.codec import sizes
from haulout.crypto.certificate import Signer, check_certificate
from haulout.crypto.messages import storage_confirmation
from haulout.crypto.schemes import SignatureScheme
from haulout.errors import Rejected
from haulout.ledger.events import BlobCertified
from haulout.ledger.state import STATE_VERSION, ExchangeRate
from haulout.primitives import EncodingType, is_quorum

TOGETHER = 500  # blobs that are summed up by the same queries
SUMMED = ("n_blobs", "size_bytes", "encoded_size_bytes")


class Summaries:
    """What has to be summed up again; handlers of events mark it, `end_block` and `end_batch` do it."""

    def __init__(self, connection: Connection, n_shards: int) -> None:
        self.sql = connection
        self.n_shards = n_shards
        self.stale_blobs: dict[bytes, None] = {}
        self.stale_pools: dict[bytes, None] = {}
        self.started_epochs: dict[int, None] = {}
        self._changes: dict[int, dict[str, int]] = {}  # of totals, by the end of the blobs' life

    def end_block(self, epoch: int) -> None:
        """All events of a block are in: pools first, then what the epochs that it started begin with."""
        self._refresh_pools(epoch)
        self._snapshot_epochs()

    def end_batch(self) -> int:
        """All blocks of a batch are in; returns how many blob ids are new."""
        stale = list(self.stale_blobs)
        n_new = sum(self._refresh_blobs(stale[at : at + TOGETHER]) for at in range(0, len(stale), TOGETHER))
        self._write_totals()
        self.stale_blobs.clear()
        return n_new

    def _refresh_pools(self, epoch: int) -> None:
        """Stake of pools that changed; of all of them when an epoch started, since stake became active."""
        if self.started_epochs:
            for (node_id,) in self.sql.execute(select(t.nodes.c.node_id)):
                self.stale_pools[node_id] = None
        for node_id in self.stale_pools:
            active, coming = self._stake_of(node_id, epoch)
            values = {"stake_frost": active, "next_stake_frost": coming}
            update_rows(self.sql, t.nodes, {"node_id": node_id}, values)
        self.stale_pools.clear()

    def _stake_of(self, node_id: bytes, epoch: int) -> tuple[int, int]:
        """What is at work in a pool in this epoch, and what will be in the next one as far as is known."""
        pool = find_row(self.sql, t.pools, {"node_id": node_id})
        return self._principal_of(node_id, epoch) if pool is None else self._balance_of(pool, epoch + 1)

    def _principal_of(self, node_id: bytes, epoch: int) -> tuple[int, int]:
        """Under protocol version 1 a pool is the sum of its stakes, and no event tells more."""
        live = and_(t.stakes.c.node_id == node_id, t.stakes.c.deleted_height.is_(None))
        active = coming = 0
        columns = (t.stakes.c.principal_frost, t.stakes.c.activation_epoch)
        for principal, activation in self.sql.execute(select(*columns).where(live)):
            active += principal if activation <= epoch else 0
            coming += principal if activation <= epoch + 1 else 0
        return active, coming

    def _balance_of(self, pool: Mapping[str, Any], following: int) -> tuple[int, int]:
        """The ledger's `pools.balance_at`, from rows."""

        def due(name: str) -> dict[int, int]:
            amounts = {int(at): amount for at, amount in json.loads(pool[name]).items()}
            return {at: amount for at, amount in amounts.items() if at <= following}

        shares = sum(due("pending_shares").values())
        for at, principal in due("pre_active_withdrawals").items():
            shares += self._rate_at(pool["node_id"], at - 1).to_shares(principal)
        balance = pool["balance_frost"]
        rate = ExchangeRate(STATE_VERSION, balance, pool["n_shares"])
        return balance, max(0, balance + sum(due("pending_stake").values()) - rate.to_frost(shares))

    def _rate_at(self, node_id: bytes, epoch: int) -> ExchangeRate:
        c = t.exchange_rates.c
        earlier = and_(c.node_id == node_id, c.epoch <= epoch)
        statement = select(c.balance_frost, c.n_shares).where(earlier).order_by(c.epoch.desc()).limit(1)
        row = self.sql.execute(statement).first()
        return ExchangeRate(STATE_VERSION, *((0, 0) if row is None else row))

    def _snapshot_epochs(self) -> None:
        """Keep the stake that epochs of this block started with, once all its events are applied."""
        for epoch in self.started_epochs:
            columns = (t.nodes.c.node_id, t.nodes.c.stake_frost)
            stake = {node_id: frost for node_id, frost in self.sql.execute(select(*columns)) if frost}
            if stake:
                rows = [{"epoch": epoch, "node_id": node_id, "stake_frost": frost} for node_id, frost in stake.items()]
                self.sql.execute(insert(t.epoch_stakes), rows)
            total = 0
            c = t.committee_members.c
            for (node_id,) in self.sql.execute(select(c.node_id).where(c.epoch == epoch)).all():
                frost = stake.get(node_id, 0)
                total += frost
                member = and_(c.epoch == epoch, c.node_id == node_id)
                self.sql.execute(update(t.committee_members).where(member).values(stake_frost=frost))
            self.sql.execute(update(t.epochs).where(t.epochs.c.epoch == epoch).values(total_stake_frost=total))
        self.started_epochs.clear()

    def _refresh_blobs(self, blob_ids: Sequence[bytes]) -> int:
        """Sum up blobs, all of them with as many queries as one; returns how many are new."""
        o = t.blob_objects.c
        objects: dict[bytes, list[dict[str, Any]]] = {}
        found = select(t.blob_objects).where(o.blob_id.in_(blob_ids)).order_by(o.registered_sequence)
        for row in self.sql.execute(found).mappings():
            objects.setdefault(row["blob_id"], []).append(dict(row))
        invalid = rows_by(self.sql, t.invalid_blobs.c.blob_id, blob_ids)
        known = rows_by(self.sql, t.blobs.c.blob_id, blob_ids)
        fresh: list[dict[str, Any]] = []
        changed: list[dict[str, Any]] = []
        for blob_id, rows in objects.items():  # an id that was invalidated before anyone registered it has none
            proven, before = invalid.get(blob_id), known.get(blob_id)
            after = summarize_blob(rows, self.n_shards)
            after["invalid_epoch"] = proven["epoch"] if proven else None
            after["invalid_height"] = proven["height"] if proven else None
            (fresh if before is None else changed).append({"blob_id": blob_id, **after})
            self._count(before, -1)
            self._count(after, 1)
        if fresh:
            self.sql.execute(insert(t.blobs), fresh)
        if changed:
            update_all(self.sql, t.blobs, "blob_id", [name for name in changed[0] if name != "blob_id"], changed)
        return len(fresh)

    def _count(self, blob: Mapping[str, Any] | None, sign: int) -> None:
        """Add a certified blob to the totals of its end, or take it out."""
        if blob is None or blob["certified_end_epoch"] is None or blob["invalid_height"] is not None:
            return
        change = self._changes.setdefault(blob["certified_end_epoch"], dict.fromkeys(SUMMED, 0))
        change["n_blobs"] += sign
        change["size_bytes"] += sign * blob["size_bytes"]
        change["encoded_size_bytes"] += sign * blob["encoded_size_bytes"]

    def _write_totals(self) -> None:
        for end_epoch, change in self._changes.items():
            if not any(change.values()):
                continue
            row = find_row(self.sql, t.blob_totals, {"end_epoch": end_epoch})
            values = {name: (row[name] if row else 0) + change[name] for name in SUMMED}
            if not values["n_blobs"]:
                self.sql.execute(delete(t.blob_totals).where(t.blob_totals.c.end_epoch == end_epoch))
            elif row:
                update_rows(self.sql, t.blob_totals, {"end_epoch": end_epoch}, values)
            else:
                insert_row(self.sql, t.blob_totals, {"end_epoch": end_epoch, **values})
        self._changes.clear()


def summarize_blob(objects: Sequence[Mapping[str, Any]], n_shards: int) -> dict[str, Any]:
    """The row of `blobs` for all rows of `blob_objects` with its id, in order of their registration.

    A burned object is gone, but the nodes keep its bytes until its end: it still counts and still holds the blob, as
    in the ledger's own sum. A blob is deleted when nothing holds it; when one was registered anew, it is not.
    """
    first = objects[0]
    holding = [o for o in objects if o["deleted_height"] is None or o["burned"]]
    certified = [o for o in holding if o["certified_epoch"] is not None]
    ever_certified = [o for o in objects if o["certified_epoch"] is not None]
    certified_end = max((o["end_epoch"] for o in certified), default=None)
    registered_end = max((o["end_epoch"] for o in holding), default=0)
    encoding = EncodingType(first["encoding_type"])
    return {
        "root_hash": first["root_hash"],
        "size_bytes": first["size_bytes"],
        "encoding_type": first["encoding_type"],
        "encoded_size_bytes": sizes.encoded_length(first["size_bytes"], n_shards, encoding),
        "symbol_size_bytes": sizes.symbol_size_bytes(first["size_bytes"], n_shards, encoding),
        "registered_epoch": first["registered_epoch"],
        "registered_height": first["registered_height"],
        "registered_sequence": first["registered_sequence"],
        "registered_time_ms": first["registered_time_ms"],
        "registered_end_epoch": registered_end,
        "first_certified_epoch": min((o["certified_epoch"] for o in ever_certified), default=None),
        "certified_height": min((o["certified_height"] for o in ever_certified), default=None),
        "certified_sequence": min((o["certified_sequence"] for o in ever_certified), default=None),
        "certified_end_epoch": certified_end,
        "end_epoch": certified_end or registered_end or max(o["end_epoch"] for o in objects),
        "certificate_sequence": max((o["certified_sequence"] for o in ever_certified), default=None),
        "permanent_count": sum(not o["deletable"] for o in holding),
        "deletable_count": sum(o["deletable"] for o in holding),
        "certified_deletable_count": sum(o["deletable"] and o["certified_epoch"] is not None for o in holding),
        "deleted_height": None if holding else max(o["deleted_height"] for o in objects),
    }


def is_certificate(body: BlobCertified, members: Sequence[Signer], scheme: SignatureScheme) -> bool:
    """Whether the certificate carries a quorum's valid signature for exactly this blob; members in committee order."""
    object_id = body.object_id if body.deletable else None
    if body.message != storage_confirmation(body.certified_epoch, body.blob_id, object_id):
        return False
    try:
        weight = check_certificate(
            scheme,
            members,
            message=body.message,
            signature=body.signature,
            bitmap=body.signers,
            is_enough=is_quorum,
        )
    except Rejected:
        return False
    return weight == body.weight
