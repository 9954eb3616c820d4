"""`GET /v1/blobs/…`: blobs out, whole or in ranges, with the headers that caches and browsers live by."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from haulout.client.documents import blob_status
from haulout.client.errors import ObjectNotFound, RangeOutOfBlob
from haulout.client.holders import require_existence
from haulout.client.network import Network
from haulout.client.read import BlobData, read_blob, read_metadata, read_range, stream_blob
from haulout.codec import ConsistencyCheck
from haulout.codec.metadata import BlobMetadata
from haulout.gateway.cache import BlobCache
from haulout.gateway.errors import InvalidConsistencyCheck, error_response
from haulout.gateway.flags import parse_flag
from haulout.gateway.metrics import GatewayMetrics, note_content
from haulout.gateway.ranges import ByteRange, matches_etag, parse_range
from haulout.primitives import BlobId, EncodingType, blob_id_text, hex_id_text, parse_blob_id, parse_object_id

CACHE_CONTROL = "public, max-age=86400, stale-while-revalidate=3600"
CHUNK_BYTES = 1 << 20
RANGE_SHARE = 4  # a range of more than a quarter of the blob is read as a whole blob
ALLOWED_ATTRIBUTES = frozenset(
    (
        "content-type",
        "authorization",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-location",
        "link",
    )
)


class BlobResponse(StreamingResponse):
    """Sends a buffer in chunks and lets go of it when it was sent or the client is gone, whichever comes first."""

    def __init__(self, data: memoryview, close: Callable[[], None], status: int, headers: dict[str, str]) -> None:
        super().__init__(self._chunks(data), status, headers)
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()

    @staticmethod
    async def _chunks(data: memoryview) -> AsyncIterator[bytes]:
        for at in range(0, len(data), CHUNK_BYTES):
            yield bytes(data[at : at + CHUNK_BYTES])


class StreamedResponse(StreamingResponse):
    """Sends a stream that has begun, and ends it when it was sent or the client is gone, whichever comes first.

    When the stream fails on its way the connection is closed before the announced length is reached.
    """

    def __init__(self, stream: AsyncGenerator[bytes], first: bytes, status: int, headers: dict[str, str]) -> None:
        super().__init__(self._chunks(stream, first), status, headers)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._stream.aclose()

    @staticmethod
    async def _chunks(stream: AsyncGenerator[bytes], first: bytes) -> AsyncIterator[bytes]:
        yield first
        async for chunk in stream:
            yield chunk


class Aggregator:
    """Reads blobs for HTTP clients."""

    def __init__(self, network: Network, cache: BlobCache, metrics: GatewayMetrics) -> None:
        self._network = network
        self._cache = cache
        self._metrics = metrics

    async def get(self, request: Request) -> Response:
        """A blob by its id."""
        return await self._answer(request, parse_blob_id(request.path_params["blob_id"]), {})

    async def get_by_object(self, request: Request) -> Response:
        """A blob by one of its objects; the object's attributes become headers where they are allowed to."""
        object_id = parse_object_id(request.path_params["object_id"])
        blob = await self._network.view.blob(object_id)
        if blob is None or blob.certified_epoch is None or blob.end_epoch <= (await self._network.view.system()).epoch:
            raise ObjectNotFound(object_id=hex_id_text(object_id))
        attributes = {
            key.lower(): value
            for key, value in blob.attributes.items()
            if key.lower() in ALLOWED_ATTRIBUTES and _is_header_value(value)
        }
        return await self._answer(request, BlobId(blob.blob_id), attributes)

    async def status(self, request: Request) -> Response:
        """What the ledger knows of a blob id."""
        blob_id = parse_blob_id(request.path_params["blob_id"])
        view = self._network.view
        record, system = await view.blob_record(blob_id), await view.system()
        status = blob_status(record, epoch=system.epoch, is_invalid=await view.is_invalid(blob_id))
        document = {"blobId": blob_id_text(blob_id), "status": status}
        return JSONResponse(document, headers={"cache-control": "no-store"})

    async def _answer(self, request: Request, blob_id: BlobId, attributes: dict[str, str]) -> Response:
        check = _consistency_check(request)
        await require_existence(self._network, blob_id)
        etag = blob_id_text(blob_id)
        headers = self._headers(request, etag, attributes)
        if matches_etag(request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        record = await self._network.view.blob_record(blob_id)
        if record is None:
            raise AssertionError("a blob that exists has a record")
        size = record.size_bytes
        wanted = request.headers.get("range")
        if_range = request.headers.get("if-range")
        if if_range is not None and if_range.strip() not in (f'"{etag}"', etag):  # a strong comparison
            wanted = None
        try:
            part = parse_range(wanted, size) if request.method == "GET" else None
        except RangeOutOfBlob as e:
            return error_response(e, headers={"content-range": f"bytes */{size}"})
        if request.method == "HEAD":
            return Response(headers={**headers, "content-length": str(size)})
        span = None if part is None else (part.start, part.length)
        status, headers = (
            (200, headers) if part is None else (206, {**headers, "content-range": part.content_range(size)})
        )
        streamed = await self._streamed(blob_id, size, span, check)
        if streamed is not None:
            length = size if part is None else part.length
            first = await anext(streamed, b"")
            note_content(request, length)
            return StreamedResponse(streamed, first, status, {**headers, "content-length": str(length)})
        if part is None:
            data, close = await self._whole(blob_id, check)
        else:
            data, close = await self._part(blob_id, part, size, check)
        note_content(request, len(data))
        return self._stream(data, close, headers, status)

    async def _streamed(
        self, blob_id: BlobId, size: int, span: tuple[int, int] | None, check: ConsistencyCheck
    ) -> AsyncGenerator[bytes] | None:
        """A blob in stripes as it comes from the nodes; None for blobs that are read before they are sent.

        Those are what fits into the cache, and what has to be known to be right before its first byte is sent.
        """
        if self._cache.takes(size) or check is ConsistencyCheck.STRICT:
            return None
        metadata = await self._metadata_of(blob_id)
        if metadata.encoding_type is not EncodingType.RS8:
            return None
        start, length = span or (0, None)
        return stream_blob(self._network, blob_id, metadata, start=start, length=length, check=check)

    async def _metadata_of(self, blob_id: BlobId) -> BlobMetadata:
        metadata = self._cache.metadata(blob_id) or await read_metadata(self._network, blob_id)
        self._cache.keep_metadata(blob_id, metadata)
        return metadata

    async def _whole(self, blob_id: BlobId, check: ConsistencyCheck) -> tuple[memoryview, Callable[[], None]]:
        cached = self._cache.blob(blob_id) if check is ConsistencyCheck.DEFAULT else None
        self._metrics.cache.labels("miss" if cached is None else "hit").inc()
        if cached is not None:
            return memoryview(cached), _nothing
        blob = await read_blob(self._network, blob_id, check=check, metadata=self._cache.metadata(blob_id))
        self._cache.keep_metadata(blob_id, blob.metadata)
        if check is not ConsistencyCheck.SKIP and self._cache.takes(blob.size_bytes):
            self._cache.keep_blob(blob_id, bytes(blob.data))
        return blob.data, blob.close

    async def _part(
        self, blob_id: BlobId, part: ByteRange, size: int, check: ConsistencyCheck
    ) -> tuple[memoryview, Callable[[], None]]:
        cached = None if check is ConsistencyCheck.STRICT else self._cache.blob(blob_id)
        if cached is not None:
            self._metrics.cache.labels("hit").inc()
            return memoryview(cached)[part.start : part.end + 1], _nothing
        if part.length * RANGE_SHARE > size or check is ConsistencyCheck.STRICT:
            data, close = await self._whole(blob_id, check)
            return data[part.start : part.end + 1], close
        metadata = await self._metadata_of(blob_id)
        blob: BlobData = await read_range(self._network, blob_id, part.start, part.length, metadata=metadata)
        return blob.data, blob.close

    def _stream(self, data: memoryview, close: Callable[[], None], headers: dict[str, str], status: int) -> Response:
        size = len(data)
        self._metrics.inflight_bytes.inc(size)

        def end() -> None:
            self._metrics.inflight_bytes.dec(size)
            data.release()
            close()

        return BlobResponse(data, end, status, {**headers, "content-length": str(size)})

    def _headers(self, request: Request, etag: str, attributes: dict[str, str]) -> dict[str, str]:
        headers = {
            "etag": f'"{etag}"',
            "cache-control": CACHE_CONTROL,
            "x-content-type-options": "nosniff",
            "accept-ranges": "bytes",
            "vary": "Accept",
        }
        accept = request.headers.get("accept")
        if accept and "*" not in accept:
            headers["content-type"] = accept
        elif request.method == "GET" and "content-type" in request.headers:
            headers["content-type"] = request.headers["content-type"]
        return {**attributes, **headers}


def _nothing() -> None:
    """There is nothing to close."""


def _is_header_value(value: str) -> bool:
    return value.isprintable() and value.isascii()


def _consistency_check(request: Request) -> ConsistencyCheck:
    strict = parse_flag(request.query_params, "strict_consistency_check")
    skip = parse_flag(request.query_params, "skip_consistency_check")
    if strict and skip:
        raise InvalidConsistencyCheck()
    if strict:
        return ConsistencyCheck.STRICT
    return ConsistencyCheck.SKIP if skip else ConsistencyCheck.DEFAULT
