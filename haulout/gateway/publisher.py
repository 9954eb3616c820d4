"""`PUT /v1/blobs`: takes a body in, stores it, answers when it is certified."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from haulout.account.wallet import Wallet
from haulout.client.blob_file import BlobFile
from haulout.client.confirmations import OnNode
from haulout.client.documents import store_result
from haulout.client.network import SPILL_THRESHOLD_BYTES, Network, disk_full_is_ours
from haulout.client.store import (
    AlreadyCertified,
    OnProgress,
    Progress,
    StoreRequest,
    StoreResult,
    check_request,
    store_blob,
)
from haulout.codec.sizes import check_blob_size
from haulout.errors import HauloutError
from haulout.gateway.errors import BodySizeDiffers, BodyTimeout, InvalidPersistence, MalformedRequest, error_response
from haulout.gateway.flags import parse_flag
from haulout.gateway.metrics import GatewayMetrics, note_content
from haulout.ledger.commands import Existing, SetBlobAttribute
from haulout.primitives import Buffer, EncodingType, blob_id_text, parse_address

_KNOWN = {
    "epochs",
    "encoding_type",
    "permanent",
    "deletable",
    "force",
    "reuse_resources",
    "send_object_to",
    "share",
    "quilt_version",
}
_DIGITS_MAX = 10
BODY_IDLE_S = 30


def parse_store_request(request: Request) -> StoreRequest:
    """Query parameters of a store.

    Raises:
        MalformedRequest, InvalidField, InvalidPersistence: with what is wrong.
    """
    query = request.query_params
    names = [name for name, _ in query.multi_items()]
    unknown = sorted(set(names) - _KNOWN)
    if unknown:
        raise MalformedRequest(problem=f"unknown query parameter {unknown[0]!r}")
    if len(names) != len(set(names)):
        raise MalformedRequest(problem="a query parameter is given twice")
    permanent, deletable = parse_flag(query, "permanent"), parse_flag(query, "deletable")
    if permanent and deletable:
        raise InvalidPersistence()
    receiver = query.get("send_object_to")
    share = parse_flag(query, "share")
    if share and receiver is not None:
        raise MalformedRequest(problem="send_object_to and share exclude each other")
    return StoreRequest(
        n_epochs=_count(query.get("epochs", "1"), "epochs"),
        deletable=not permanent,
        force=parse_flag(query, "force"),
        reuse_resources=parse_flag(query, "reuse_resources"),
        encoding=EncodingType.parse(query["encoding_type"]) if "encoding_type" in query else None,
        send_object_to=None if receiver is None else parse_address(receiver, field="send_object_to"),
        share=share,
    )


def _count(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS_MAX:
        raise MalformedRequest(problem=f"{name}: {text[:40]!r} is not a number")
    return int(text)


class Publisher:
    """Stores request bodies on behalf of one account."""

    def __init__(self, network: Network, wallet: Wallet, spill: Path, metrics: GatewayMetrics) -> None:
        self._network = network
        self._wallet = wallet
        self._spill = spill
        self._metrics = metrics

    async def put(self, request: Request) -> Response:
        """Answer a store: 200 means certified and durable on n - f shards. What can be refused before the body is
        read, is."""
        store_request = parse_store_request(request)
        phase = "receiving"

        def on_progress(progress: Progress) -> None:
            nonlocal phase
            phase = progress.phase

        try:
            result = await self.store(request, store_request, on_progress=on_progress)
        except HauloutError as e:
            return error_response(e, extra={"failurePhase": phase})
        return store_response(result)

    async def store(
        self,
        request: Request,
        store_request: StoreRequest,
        *,
        on_progress: OnProgress,
        on_node: OnNode = lambda _: None,
        announced_bytes: int | None = None,
    ) -> StoreResult:
        """Take the body in and store it.

        Args:
            announced_bytes: how many bytes are to come; None: as many as the network stores.

        Raises:
            as `store_blob`; MalformedRequest, BodyTimeout, BodySizeDiffers: the body did not come as announced.
        """
        params = await self._network.view.params()
        check_request(store_request, params)

        def check(size_bytes: int) -> None:
            check_blob_size(size_bytes, params.n_shards, params.max_blob_bytes, store_request.encoding)
            if announced_bytes is not None and size_bytes > announced_bytes:
                raise BodySizeDiffers(announced_bytes=announced_bytes, got_bytes=size_bytes)

        async with self._body(request, check) as data:
            if announced_bytes is not None and len(data) < announced_bytes:
                raise BodySizeDiffers(announced_bytes=announced_bytes, got_bytes=len(data))
            result = await store_blob(
                self._network, self._wallet, data, store_request, on_progress=on_progress, on_node=on_node
            )
        if isinstance(result, AlreadyCertified):
            await self._set_attributes(result, store_request)
        return result

    async def _set_attributes(self, stored: AlreadyCertified, request: StoreRequest) -> None:
        """Have what was stored already get what is asked for; what is not this account's own is left as it is."""
        is_ours = request.send_object_to in (None, self._wallet.address)
        if request.attributes and stored.object_id is not None and is_ours:
            target = Existing(stored.object_id)
            await self._wallet.execute([SetBlobAttribute(target, *pair) for pair in request.attributes])

    @contextlib.asynccontextmanager
    async def _body(self, request: Request, check: Callable[[int], None]) -> AsyncIterator[Buffer | BlobFile]:
        """The request's body, in memory while small, else in a file without a name; `check` refuses a size."""
        declared = request.headers.get("content-length", "0")
        if declared.isascii() and declared.isdigit():
            check(int(declared))
        self._spill.mkdir(parents=True, exist_ok=True)
        size = taken = 0
        with tempfile.SpooledTemporaryFile(max_size=SPILL_THRESHOLD_BYTES, dir=str(self._spill)) as file:
            try:
                async for chunk in _chunks(request):
                    size += len(chunk)
                    check(size)
                    self._metrics.inflight_bytes.inc(len(chunk))
                    taken = size
                    with disk_full_is_ours(self._spill):
                        file.write(chunk)
                with disk_full_is_ours(self._spill):
                    file.flush()
                    file.seek(0)
                    data: Buffer | BlobFile = BlobFile(file.fileno(), size) if is_large(size) else file.read()
                note_content(request, size)
                yield data
            except ClientDisconnect as e:
                raise MalformedRequest(problem="the body ended early") from e
            finally:
                self._metrics.inflight_bytes.dec(taken)


def store_response(result: StoreResult) -> Response:
    """The answer to a store."""
    location = f"/v1/blobs/{blob_id_text(result.blob_id)}"
    return JSONResponse(store_result(result), headers={"location": location, "cache-control": "no-store"})


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises:
        BodyTimeout: nothing came for too long.
    """
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(BODY_IDLE_S):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as e:
            raise BodyTimeout(timeout_s=BODY_IDLE_S) from e
        yield chunk


def is_large(size_bytes: int) -> bool:
    """Whether a body of this size is in a file; the file rolls over at the same size."""
    return size_bytes > SPILL_THRESHOLD_BYTES
