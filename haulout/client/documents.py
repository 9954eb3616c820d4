"""JSON of blobs, stores and the network, as Walrus's tools know it."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from haulout.client.store import AlreadyCertified, NewlyCreated, StoreResult
from haulout.client.view import LedgerView
from haulout.codec import sizes
from haulout.errors import Unavailable
from haulout.ledger.plan import CommitteePlan, plan_next_committee
from haulout.ledger.state import Blob, BlobRecord, Committee, Node, Params, Phase, Staking, System
from haulout.ports import Ledger
from haulout.primitives import (
    STORAGE_UNIT_BYTES,
    Axis,
    EncodingType,
    ObjectId,
    blob_id_text,
    hex_id_text,
    max_faulty,
    min_correct,
    min_decodable,
    storage_units,
)

FINALITY_TIMEOUT_S = 2
EXAMPLE_SIZES = (16 << 20, 64 << 20, 1 << 30)


def blob_object(object_id: ObjectId, blob: Blob) -> dict[str, Any]:
    """A blob object."""
    return {
        "id": hex_id_text(object_id),
        "registeredEpoch": blob.registered_epoch,
        "blobId": blob_id_text(blob.blob_id),
        "size": blob.size_bytes,
        "encodingType": EncodingType(blob.encoding_type).name,
        "certifiedEpoch": blob.certified_epoch,
        "storage": {
            "id": hex_id_text(blob.storage_id),
            "startEpoch": blob.start_epoch,
            "endEpoch": blob.end_epoch,
            "storageSize": blob.storage_size_bytes,
        },
        "deletable": blob.deletable,
    }


def shared_blob(object_id: ObjectId, blob: Blob, funds_frost: int) -> dict[str, Any]:
    """A blob object that is shared, with its funds in FROST."""
    return {**blob_object(object_id, blob), "shared": {"funds": funds_frost}}


def store_result(result: StoreResult) -> dict[str, Any]:
    """The answer to a store: exactly one top-level key."""
    if isinstance(result, NewlyCreated):
        operation: dict[str, Any] = {"encodedLength": result.encoded_bytes}
        if result.operation == "registerFromScratch":
            operation["epochsAhead"] = result.n_epochs
        elif result.operation in ("reuseAndExtend", "reuseAndExtendNonCertified"):
            operation["epochsExtended"] = result.n_epochs
        created: dict[str, Any] = {
            "blobObject": blob_object(result.object_id, result.blob),
            "resourceOperation": {result.operation: operation},
            "cost": result.cost_frost,
        }
        if result.is_shared:
            created["sharedBlobObject"] = hex_id_text(result.object_id)
        return {"newlyCreated": created}
    return {"alreadyCertified": _already_certified(result)}


def _already_certified(result: AlreadyCertified) -> dict[str, Any]:
    document: dict[str, Any] = {"blobId": blob_id_text(result.blob_id)}
    if result.object_id is not None:
        document["object"] = hex_id_text(result.object_id)
    else:
        document["event"] = event_place(result.certified_height, result.certified_sequence)
    return {**document, "endEpoch": result.end_epoch}


def event_place(height: int, sequence: int) -> dict[str, str]:
    """Where an event stands, in the shape of Walrus: our transactions are in blocks, so the block stands for them."""
    return {"txDigest": str(height), "eventSeq": str(sequence)}


def blob_status(record: BlobRecord | None, *, epoch: int, is_invalid: bool) -> str | dict[str, Any]:
    """The status of a blob id: the strongest of invalid, permanent, deletable, nonexistent."""
    if is_invalid:
        return {"invalid": {"event": None}}
    if record is None or record.registered_end_epoch <= epoch:
        return "nonexistent"
    counts = {
        "count_deletable_total": record.deletable_total,
        "count_deletable_certified": record.deletable_certified,
    }
    place = event_place(record.certified_height or 0, record.certified_sequence or 0)
    if record.permanent_end_epoch is not None and record.permanent_end_epoch > epoch:
        return {
            "permanent": {
                "endEpoch": record.permanent_end_epoch,
                "isCertified": record.permanent_certified,
                "statusEvent": place if record.permanent_certified else None,
                "deletableCounts": counts,
                "initialCertifiedEpoch": record.initial_certified_epoch,
            }
        }
    return {"deletable": {"initialCertifiedEpoch": record.initial_certified_epoch, "deletableCounts": counts}}


async def network_info(view: LedgerView, ledger: Ledger) -> dict[str, Any]:
    """The body of `haulout info --json` and of `/v1/info`: the same for all who ask, wherever they ask."""
    params, system, staking = await view.params(), await view.system(), await view.staking()
    committee = await view.committee()
    nodes = await view.nodes([member.node_id for member in committee.members])
    planned = plan_next_committee(await view.plan_state())
    return {
        "epochInfo": _epoch_info(params, system, staking),
        "storageInfo": {"nShards": params.n_shards, "nNodes": len(committee.members)},
        "sizeInfo": {
            "storageUnitSize": STORAGE_UNIT_BYTES,
            "maxBlobSize": max_blob_bytes(params),
            "encodingTypes": [encoding.name for encoding in sizes.encodings_of(params.n_shards)],
        },
        "priceInfo": _price_info(params, system),
        "committeeInfo": {**_committee_info(params, committee, nodes), "keptBecause": kept_because(planned)},
        "bftInfo": _bft_info(params, committee),
        "finality": await _finality(ledger),
    }


def kept_because(planned: CommitteePlan) -> dict[str, str] | None:
    """Why the next vote would leave the committee as it is; None while those with stake can hold all shards."""
    kept = planned.kept_because
    return None if kept is None else {"code": kept.code, "message": str(kept)}


async def _finality(ledger: Ledger) -> dict[str, int] | None:
    """How far the ledger is; None when it does not answer, which must not keep the rest from being shown."""
    try:
        async with asyncio.timeout(FINALITY_TIMEOUT_S):
            finality = (await ledger.status()).finality
    except (Unavailable, TimeoutError):
        return None
    return None if finality is None else asdict(finality)


def max_blob_bytes(params: Params) -> int:
    """The largest blob that the network takes, with the encoding that holds most."""
    return sizes.max_network_blob_bytes(params.n_shards, params.max_blob_bytes)


def _epoch_info(params: Params, system: System, staking: Staking) -> dict[str, Any]:
    seconds, rest_ms = divmod(params.epoch_duration_ms, 1000)
    started = None if staking.phase is Phase.SYNC else datetime.fromtimestamp(staking.phase_since_ms // 1000, UTC)
    return {
        "currentEpoch": system.epoch,
        # None while shards are still being handed over: the epoch is counted from the moment that is done.
        "startOfCurrentEpoch": None if started is None else started.isoformat().replace("+00:00", "Z"),
        "epochDuration": {"secs": seconds, "nanos": rest_ms * 1_000_000},
        "maxEpochsAhead": params.max_epochs_ahead,
    }


def _price_info(params: Params, system: System) -> dict[str, Any]:
    return {
        "storagePricePerUnitSize": system.storage_price_frost,
        "writePricePerUnitSize": system.write_price_frost,
        "encodingDependentPriceInfo": [
            _price_of(encoding, params, system)
            for encoding in sizes.encodings_of(params.n_shards)
            if sizes.max_blob_size_bytes(params.n_shards, encoding) >= 2 * STORAGE_UNIT_BYTES
        ],
    }


def _price_of(encoding: EncodingType, params: Params, system: System) -> dict[str, Any]:
    """What storing costs with an encoding; the examples are of blobs that it is chosen for."""
    per_unit, n_shards = system.storage_price_frost, params.n_shards
    examples = []
    for size in EXAMPLE_SIZES:
        if size <= max_blob_bytes(params) and sizes.choose_encoding(size, n_shards) is encoding:
            encoded = sizes.encoded_length(size, n_shards, encoding)
            price = storage_units(encoded) * per_unit
            examples.append(
                {"unencodedSize": size, "encodedSize": encoded, "price": price, "encodingType": encoding.name}
            )
    one, two = (sizes.encoded_length(count * STORAGE_UNIT_BYTES, n_shards, encoding) for count in (1, 2))
    return {
        "marginalSize": STORAGE_UNIT_BYTES,
        "metadataPrice": storage_units(n_shards * sizes.metadata_price_bytes(n_shards)) * per_unit,
        "marginalPrice": storage_units(two - one) * per_unit,
        "exampleBlobs": examples,
        "encodingType": encoding.name,
    }


def _committee_info(params: Params, committee: Committee, nodes: dict[ObjectId, Node]) -> dict[str, Any]:
    n_shards = params.n_shards
    largest = max_blob_bytes(params)
    encoding = sizes.choose_encoding(largest, n_shards)
    members = []
    for member in committee.members:
        node = nodes.get(ObjectId(member.node_id))
        members.append(
            {
                "name": node.name if node else "",
                "networkAddress": node.addresses[0] if node and node.addresses else "",
                "publicKey": base64.b64encode(member.public_key).decode(),
                "networkPublicKey": base64.b64encode(node.network_public_key).decode() if node else "",
                "nShards": member.weight,
                "shardIds": list(member.shards),
                "nodeId": hex_id_text(member.node_id),
                "stake": node.balance_frost if node else 0,
                "votingParams": {
                    "storagePrice": node.storage_price_frost,
                    "writePrice": node.write_price_frost,
                    "nodeCapacity": node.node_capacity_bytes,
                }
                if node
                else None,
            }
        )
    return {
        "nShards": n_shards,
        "nPrimarySourceSymbols": min_decodable(n_shards),
        "nSecondarySourceSymbols": min_correct(n_shards),
        "maxSliverSize": sizes.sliver_size_bytes(Axis.PRIMARY, largest, n_shards, encoding),
        "metadataStorageSize": n_shards * sizes.metadata_price_bytes(n_shards),
        "maxEncodedBlobSize": sizes.encoded_length(largest, n_shards, encoding),
        "currentStorageNodes": members,
    }


def _bft_info(params: Params, committee: Committee) -> dict[str, Any]:
    n_shards, faulty = params.n_shards, max_faulty(params.n_shards)
    weights = sorted((member.weight for member in committee.members), reverse=True)
    above, shards_above = 0, 0
    for weight in weights:
        if shards_above > faulty:
            break
        above, shards_above = above + 1, shards_above + weight
    return {
        "maxFaultyShards": faulty,
        "minCorrectShards": min_correct(n_shards),
        "quorumThreshold": min_correct(n_shards),
        "minNodesAbove": above,
        "shardsAbove": shards_above,
    }
