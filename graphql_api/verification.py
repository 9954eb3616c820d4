"""Checks anyone can ask for: of a certificate from anywhere, and of a blob as it is stored now."""

from __future__ import annotations

import strawberry

from graphql_api.context import Info
from graphql_api.inspection import STRICT_BYTES_MAX
from graphql_api.read_model import blob_queries
from graphql_api.scalars import Base64, BlobID
from haulout.crypto.certificate import Signer, bitmap_of, check_certificate
from haulout.errors import HauloutError, InvalidField
from haulout.primitives import Axis as CodecAxis
from haulout.primitives import BlobId, is_quorum, min_correct, min_decodable

SIGNERS_MAX = 1_000


@strawberry.type(description="One thing that was checked.")
class Check:
    name: str = strawberry.field(description="What was checked.")
    passed: bool = strawberry.field(description="Whether it holds.")
    detail: str | None = strawberry.field(description="What was found; null when there is nothing to add.")


@strawberry.type(description="The outcome of a verification, check by check.")
class Verification:
    valid: bool = strawberry.field(description="Whether every check passed.")
    checks: list[Check] = strawberry.field(description="The checks in order; the first that failed ends them.")

    @classmethod
    def of(cls, checks: list[Check]) -> Verification:
        return cls(valid=all(check.passed for check in checks), checks=checks)


async def verify_certificate(
    info: Info, message: Base64, signature: Base64, signers: list[int], epoch: int
) -> Verification:
    """Check a certificate with the keys of an epoch's committee.

    Raises:
        InvalidField: positions that no committee has.
    """
    if len(signers) > SIGNERS_MAX or any(not 0 <= position < SIGNERS_MAX for position in signers):
        raise InvalidField(field="signers", problem=f"are at most {SIGNERS_MAX} positions from 0 to {SIGNERS_MAX - 1}")
    services = info.context.services
    rows = await info.context.loaders.members.load(epoch)
    checks = [Check(name="committee is known", passed=bool(rows), detail=f"{len(rows)} members in epoch {epoch}")]
    if not rows:
        return Verification.of(checks)
    members = [Signer(row["public_key"], row["weight"]) for row in rows]
    in_range = all(position < len(members) for position in signers) and len(set(signers)) == len(signers)
    checks.append(Check(name="signers are members, each named once", passed=in_range, detail=None))
    if not in_range:
        return Verification.of(checks)
    weight, needed = sum(members[position].weight for position in signers), min_correct(services.params.n_shards)
    enough = is_quorum(weight, services.params.n_shards)
    checks.append(Check(name="signers are a quorum", passed=enough, detail=f"{weight} shards, {needed} are needed"))
    if not enough:
        return Verification.of(checks)
    problem = None
    try:
        await services.network.workers.run(
            check_certificate,
            services.network.scheme,
            members,
            message=message,
            signature=signature,
            bitmap=bitmap_of(signers),
            is_enough=is_quorum,
        )
    except HauloutError as e:
        problem = str(e)
    checks.append(Check(name="the signature is theirs, over this message", passed=problem is None, detail=problem))
    return Verification.of(checks)


async def verify_blob(info: Info, blob_id: BlobID, strict: bool) -> Verification:
    """Check a blob as it is now: on the ledger, its certificate, its metadata, its slivers; `strict` reads it too.

    Raises:
        InvalidField: too large to be read here.
    """
    services, inspector = info.context.services, info.context.services.inspector
    row = await info.context.loaders.blob.load(blob_id)
    state = "nobody registered it" if row is None else blob_queries.state_of_blob(row, await info.context.epoch())
    checks = [Check(name="certified on the ledger", passed=state == "CERTIFIED", detail=state)]
    if row is None or not checks[-1].passed:
        return Verification.of(checks)
    if strict and row["size_bytes"] > STRICT_BYTES_MAX:
        raise InvalidField(field="strict", problem=f"is for blobs of up to {STRICT_BYTES_MAX} bytes")
    certificate = await info.context.loaders.certificate.load(row["certificate_sequence"])
    held = certificate is not None and certificate["verified"]
    detail = None
    if certificate is not None:
        detail = f"signed by {certificate['weight']} shards in epoch {certificate['epoch']}"
    checks.append(Check(name="the certificate holds", passed=held, detail=detail))
    try:
        metadata = await inspector.metadata(BlobId(blob_id))
        checks.append(Check(name="metadata hashes to the blob id", passed=True, detail=metadata.encoding_type.name))
        n_stored = sum(h.is_stored[CodecAxis.PRIMARY] is True for h in await inspector.holdings(BlobId(blob_id)))
        needed = min_decodable(services.params.n_shards)
        text = f"{n_stored} primary slivers are held, {needed} are needed"
        checks.append(Check(name="enough slivers are there", passed=n_stored >= needed, detail=text))
        if strict and checks[-1].passed:
            size = await inspector.read_strictly(BlobId(blob_id))
            text = f"{size} bytes were read, decoded and encoded again"
            checks.append(Check(name="content encodes to the blob id", passed=True, detail=text))
    except HauloutError as e:
        checks.append(Check(name="it can be read", passed=False, detail=str(e)))
    return Verification.of(checks)
