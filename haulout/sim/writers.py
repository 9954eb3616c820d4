"""Writers who leave a mess: half an upload, a registration and nothing more, a blob whose slivers contradict it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from haulout.account.wallet import Wallet
from haulout.client.network import MemberLink, Network
from haulout.client.registration import StoreRequest, encoded_bytes_of, propose, register
from haulout.client.striped_blob import StripedBlob
from haulout.client.striped_upload import StripedUpload
from haulout.client.upload import Upload
from haulout.codec import rs8
from haulout.codec.metadata import SliverPairHashes
from haulout.codec.red_stuff import EncodedBlob, SliverBuffers, encode_blob
from haulout.codec.rs8 import EncodedSegment, SegmentEncoder, StripeHasher
from haulout.codec.streams import BytesSource
from haulout.errors import Unreachable
from haulout.ledger.commands import CertifyBlob, Existing
from haulout.ports import SliverUpload
from haulout.primitives import Axis, BlobId, ObjectId, SliverPairIndex, is_quorum

REQUEST: Final = StoreRequest(n_epochs=3, deletable=False)


async def register_only(network: Network, wallet: Wallet, blob: EncodedBlob | StripedBlob) -> ObjectId:
    """Pay for a blob and bring nothing of it. Raises as `registration.register`."""
    plan = await propose(network.view, wallet.address, blob.blob_id, encoded_bytes_of(blob.metadata), REQUEST)
    return await register(network, wallet, blob.blob_id, blob.metadata, REQUEST, plan)


async def store_inconsistent(
    network: Network, wallet: Wallet, blob: EncodedBlob | StripedBlob, *, first_left_out: int | None = None
) -> BlobId:
    """Store slivers as they are, each true to its own hash, and have that certified.

    Args:
        first_left_out: bring nothing to as many members as can be spared, this one and those after it, so that they
            have to rebuild it; None brings it to all.

    Raises:
        HauloutError: as `client.store_blob`.
    """
    object_id = await register_only(network, wallet, blob)
    epoch, links = await network.current_links()
    members = links if first_left_out is None else leave_out(links, first_left_out)
    upload = (StripedUpload if isinstance(blob, StripedBlob) else Upload)(
        network,
        blob,  # type: ignore[arg-type]  # each its own kind
        epoch=epoch,
        members=members,
        object_id=None,
        on_bytes=lambda _: None,
    )
    certificate = await upload.run()
    command = CertifyBlob(Existing(object_id), certificate.message, certificate.signature, certificate.bitmap)
    result = await wallet.execute([command])
    await network.view.reach(result.height)
    return blob.blob_id


# --- blobs that contradict themselves -----------------------------------------------------------------------


def contradict(data: bytes, other: bytes, n_shards: int) -> EncodedBlob:
    """The rows of one blob with the columns of another of the same length: no node can make sense of both."""
    assert len(data) == len(other) and data != other, "two blobs of one length"
    rows, columns = encode_blob(data, n_shards), encode_blob(other, n_shards)
    pairs = tuple(
        SliverPairHashes(row.primary, column.secondary)
        for row, column in zip(rows.metadata.pairs, columns.metadata.pairs, strict=True)
    )
    metadata = replace(rows.metadata, pairs=pairs)
    buffers = SliverBuffers(rows.buffers.primary, columns.buffers.secondary)
    return EncodedBlob(metadata.blob_id(), metadata, buffers)


class ContradictoryStripes(StripedBlob):
    """As `contradict`, in stripes: the pieces of columns are those of another blob, and the metadata says so."""

    def __init__(self, data: bytes, other: bytes, n_shards: int) -> None:
        assert len(data) == len(other) and data != other, "two blobs of one length"
        striping = rs8.striping_of(len(data), n_shards)
        stripes = range(striping.n_stripes)
        rows, columns = (StripeHasher(BytesSource(one), striping).roots(stripes) for one in (data, other))
        roots = np.stack([rows[Axis.PRIMARY], columns[Axis.SECONDARY]])
        super().__init__(BytesSource(data), striping, roots)
        numbers = range(striping.n_segments)
        self._columns = [SegmentEncoder(BytesSource(other), striping).encode(number) for number in numbers]

    def upload(self, segment: EncodedSegment, pair: SliverPairIndex, axis: Axis) -> SliverUpload:
        """One segment of a sliver as it travels."""
        number = segment.stripes.start // self.striping.segment_stripes
        return super().upload(segment if axis is Axis.PRIMARY else self._columns[number], pair, axis)


# --- members that get nothing -------------------------------------------------------------------------------


class _LeftOut:
    """A member to which the writer brings nothing."""

    def __getattr__(self, name: str) -> Any:
        async def refuse(**_: object) -> None:
            raise Unreachable(peer="a member", problem="the writer leaves it out")

        return refuse


def leave_out(members: Sequence[MemberLink], first: int) -> list[MemberLink]:
    """The same members, of which some cannot be reached; those that can are a quorum."""
    links, left = list(members), sum(member.weight for member in members)
    n_shards = left
    for place in range(len(links)):
        index = (first + place) % len(links)
        if not is_quorum(left - links[index].weight, n_shards):
            break
        left -= links[index].weight
        links[index] = replace(links[index], api=_LeftOut())
    return links
